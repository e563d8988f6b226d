-- Coupons, a part of the catalogue: their version is the catalogue's.

CREATE TABLE coupons (
    id                   text COLLATE "C" PRIMARY KEY,
    position             bigint NOT NULL UNIQUE GENERATED ALWAYS AS IDENTITY,
    code                 text COLLATE "C" NOT NULL CHECK (code ~ '^[A-Za-z0-9_-]{1,64}$'),
    kind                 text NOT NULL CHECK (kind IN ('percentage', 'fixed_amount')),
    value                bigint NOT NULL CHECK (value >= 1),
    min_order_value      bigint CHECK (min_order_value >= 0),
    usage_limit          integer CHECK (usage_limit >= 1),
    per_customer_limit   integer CHECK (per_customer_limit >= 1),
    applicable_products  text[] CHECK (cardinality(applicable_products) >= 1),
    starts_at            timestamptz,
    ends_at              timestamptz,
    version              bigint NOT NULL,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    CHECK (kind <> 'percentage' OR value <= 100),
    CHECK (ends_at > starts_at)
);
CREATE UNIQUE INDEX coupons_code ON coupons (lower(code));
CREATE INDEX coupons_version ON coupons (version);
COMMENT ON COLUMN coupons.id IS
    'Made anew with every creation: what counts uses counts them for an id, so a code that comes again begins at 0';
COMMENT ON COLUMN coupons.applicable_products IS
    'Ids of products, NULL for every product; what they name may be deleted before the coupon';
