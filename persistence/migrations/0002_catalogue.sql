-- Products, and the variants of them that have a SKU each.

CREATE TABLE products (
    id           text COLLATE "C" PRIMARY KEY,
    name         text NOT NULL,
    description  text NOT NULL DEFAULT '',
    base_price   bigint NOT NULL CHECK (base_price >= 0),
    currency     text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    status       text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'draft', 'discontinued')),
    brand        text,
    tags         text[] NOT NULL DEFAULT '{}',
    attributes   jsonb NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN products.base_price IS 'For one unit, in minor units of the currency';

CREATE TABLE variants (
    id                text COLLATE "C" PRIMARY KEY,
    product_id        text COLLATE "C" NOT NULL REFERENCES products (id),
    sku               text COLLATE "C" NOT NULL UNIQUE,
    attributes        jsonb NOT NULL DEFAULT '{}',
    price_adjustment  bigint NOT NULL DEFAULT 0,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX variants_product ON variants (product_id);
COMMENT ON COLUMN variants.price_adjustment IS 'Added to the product''s base_price; may be negative';
