-- Carts and orders, as the event log tells of them.

CREATE TABLE carts (
    id           text COLLATE "C" PRIMARY KEY,
    customer_id  text,
    status       text NOT NULL CHECK (status IN ('open', 'paying', 'ordered', 'merged')),
    version      integer NOT NULL CHECK (version >= 1),
    record       text NOT NULL,
    expires_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
);
CREATE INDEX carts_expires ON carts (expires_at);
CREATE INDEX carts_closed ON carts (updated_at) WHERE status IN ('ordered', 'merged');
COMMENT ON COLUMN carts.record IS
    'The whole cart as JSON, as Redis keeps it; the columns beside it are its parts that queries need, of the same event';
COMMENT ON COLUMN carts.version IS 'Grows with every change; an older version never replaces a newer one';

CREATE TABLE orders (
    id                 text COLLATE "C" PRIMARY KEY,
    position           bigint NOT NULL UNIQUE GENERATED ALWAYS AS IDENTITY,
    cart_id            text COLLATE "C" NOT NULL,
    customer_id        text,
    status             text NOT NULL CHECK (status IN ('created', 'processing', 'shipped', 'delivered', 'completed',
                                                       'canceled', 'returned', 'refund_due')),
    currency           text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    subtotal           bigint NOT NULL CHECK (subtotal >= 0),
    discount           bigint NOT NULL CHECK (discount >= 0),
    total              bigint NOT NULL CHECK (total >= 0),
    coupon_id          text COLLATE "C",
    coupon             text COLLATE "C",
    is_coupon_counted  boolean NOT NULL,
    payment_status     text NOT NULL CHECK (payment_status IN ('pending', 'processing', 'requires_action', 'succeeded',
                                                               'failed', 'canceled')),
    transaction_id     text,
    payment_until      timestamptz,
    stock              text NOT NULL CHECK (stock IN ('held', 'sold', 'none', 'returned')),
    tracking_number    text,
    refund_reason      text,
    version            integer NOT NULL CHECK (version >= 1),
    record             text NOT NULL,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    CHECK (total = subtotal - discount),
    CHECK ((coupon_id IS NULL) = (coupon IS NULL)),
    CHECK (coupon_id IS NOT NULL OR NOT is_coupon_counted),
    CHECK (stock <> 'held' OR payment_until IS NOT NULL)
);
CREATE INDEX orders_of_customer ON orders (customer_id, position) WHERE customer_id IS NOT NULL;
CREATE INDEX orders_of_status ON orders (status, position);
CREATE INDEX orders_updated ON orders (updated_at);
CREATE INDEX orders_held ON orders (payment_until) WHERE stock = 'held';
CREATE INDEX orders_of_coupon ON orders (coupon_id, customer_id) WHERE is_coupon_counted;
COMMENT ON COLUMN orders.position IS 'The order in which they came, in which lists are paged';
COMMENT ON COLUMN orders.total IS 'subtotal - discount, in minor units of the currency; the discount is the coupon''s';
COMMENT ON COLUMN orders.payment_until IS 'The end of the payment window; NULL for an order that was paid at its checkout';
COMMENT ON COLUMN orders.stock IS
    'Where its units are: held until the payment settles, sold, none of them any more, or returned to the shelf';
COMMENT ON COLUMN orders.record IS
    'The whole order as JSON, as Redis keeps it; the columns beside it and order_items are its parts that operators ask '
    'for, of the same event';
COMMENT ON COLUMN orders.version IS 'Grows with every change; an older version never replaces a newer one';

CREATE TABLE order_items (
    order_id       text COLLATE "C" NOT NULL REFERENCES orders (id),
    position       smallint NOT NULL,
    sku            text COLLATE "C" NOT NULL,
    variant_id     text COLLATE "C" NOT NULL,
    product_id     text COLLATE "C" NOT NULL,
    name           text NOT NULL,
    quantity       integer NOT NULL CHECK (quantity > 0),
    unit_price     bigint NOT NULL CHECK (unit_price >= 0),
    discount       bigint NOT NULL CHECK (discount >= 0),
    final_price    bigint NOT NULL CHECK (final_price >= 0),
    total_price    bigint NOT NULL,
    applied_rules  jsonb NOT NULL,
    PRIMARY KEY (order_id, position),
    CHECK (final_price = unit_price - discount),
    CHECK (total_price = final_price * quantity)
);
CREATE INDEX order_items_sku ON order_items (sku);
COMMENT ON TABLE order_items IS 'A copy of the cart''s lines and prices, which never changes, whatever becomes of the order';
COMMENT ON COLUMN order_items.applied_rules IS 'What each pricing rule took off a unit: [{rule_id, name, kind, discount}]';

-- The movements of an order's units: what was sold for it, and what came back.
CREATE INDEX stock_ledger_orders ON stock_ledger (reference COLLATE "C") WHERE starts_with(reference, 'ord_');
