-- Pricing rules, a part of the catalogue: their version is the catalogue's.

CREATE TABLE pricing_rules (
    id            text COLLATE "C" PRIMARY KEY,
    position      bigint NOT NULL UNIQUE GENERATED ALWAYS AS IDENTITY,
    name          text NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('bulk', 'tier', 'promo', 'seasonal', 'sale_price', 'buy_x_get_y')),
    priority      integer NOT NULL,
    active        boolean NOT NULL,
    stacking      text NOT NULL CHECK (stacking IN ('additive', 'multiplicative', 'best', 'exclusive')),
    min_quantity  integer,
    user_tier     text,
    promo_code    text,
    product_id    text COLLATE "C",
    variant_id    text COLLATE "C",
    category_id   text COLLATE "C",
    starts_at     timestamptz,
    ends_at       timestamptz,
    percent       smallint CHECK (percent BETWEEN 1 AND 100),
    amount        bigint CHECK (amount > 0),
    price         bigint CHECK (price >= 0),
    buy_quantity  integer CHECK (buy_quantity > 0),
    get_quantity  integer CHECK (get_quantity > 0),
    version       bigint NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(percent, amount, price, buy_quantity) = 1),
    CHECK ((buy_quantity IS NULL) = (get_quantity IS NULL))
);
CREATE INDEX pricing_rules_version ON pricing_rules (version);
COMMENT ON TABLE pricing_rules IS
    'What they apply to may be deleted before them: such a rule then applies to nothing, and is kept for the record';
