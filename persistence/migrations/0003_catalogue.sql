-- Categories, retired variants, the catalogue's version, and answers that a retry gets again.

CREATE TABLE catalogue_version (
    only_one  boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    version   bigint NOT NULL
);
INSERT INTO catalogue_version (version) VALUES (1);
COMMENT ON TABLE catalogue_version IS
    'Grows with every change of the catalogue; its row lock lets one writer at a time change it';

CREATE TABLE categories (
    id          text COLLATE "C" PRIMARY KEY,
    position    bigint NOT NULL UNIQUE GENERATED ALWAYS AS IDENTITY,
    name        text NOT NULL,
    slug        text COLLATE "C" NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9-]{1,64}$'),
    parent_id   text COLLATE "C" REFERENCES categories (id),
    version     bigint NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX categories_parent ON categories (parent_id);
CREATE INDEX categories_version ON categories (version);
COMMENT ON COLUMN categories.position IS 'Order of creation, in which lists are paged';
COMMENT ON COLUMN categories.version IS 'The catalogue''s version when the row last changed';

ALTER TABLE products
    ADD COLUMN position bigint NOT NULL UNIQUE GENERATED ALWAYS AS IDENTITY,
    ADD COLUMN category_id text COLLATE "C" REFERENCES categories (id),
    ADD COLUMN handle text COLLATE "C" UNIQUE,
    ADD COLUMN version bigint NOT NULL DEFAULT 1;
ALTER TABLE products ALTER COLUMN version DROP DEFAULT;
CREATE INDEX products_category ON products (category_id);
CREATE INDEX products_version ON products (version);
COMMENT ON COLUMN products.handle IS 'What imported files call the product, so that their rows find it again';

ALTER TABLE variants
    ADD COLUMN position bigint NOT NULL UNIQUE GENERATED ALWAYS AS IDENTITY,
    ADD COLUMN retired boolean NOT NULL DEFAULT false,
    ADD COLUMN version bigint NOT NULL DEFAULT 1;
ALTER TABLE variants ALTER COLUMN version DROP DEFAULT;
CREATE INDEX variants_version ON variants (version);

CREATE TABLE catalogue_deletions (
    id       text COLLATE "C" PRIMARY KEY,
    version  bigint NOT NULL,
    at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX catalogue_deletions_version ON catalogue_deletions (version);
CREATE INDEX catalogue_deletions_at ON catalogue_deletions (at);
COMMENT ON TABLE catalogue_deletions IS 'Rows that were deleted lately, so that a catalogue in memory lets go of them';

CREATE TABLE idempotency (
    client       text COLLATE "C" NOT NULL,
    verb         text COLLATE "C" NOT NULL,
    key          text COLLATE "C" NOT NULL,
    fingerprint  text NOT NULL,
    status       smallint NOT NULL,
    body         text NOT NULL,
    etag         text,
    at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (client, verb, key)
);
CREATE INDEX idempotency_at ON idempotency (at);
COMMENT ON TABLE idempotency IS 'Answers of keyed changes of the catalogue, written with their effect';
