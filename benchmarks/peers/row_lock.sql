-- name: drop_schema
-- What an earlier run left.
DROP SCHEMA IF EXISTS row_lock CASCADE;

-- name: make_schema
-- One row a SKU, one row a hold.
CREATE SCHEMA row_lock;
CREATE TABLE row_lock.stock (
    sku        text COLLATE "C" PRIMARY KEY,
    available  bigint NOT NULL CHECK (available >= 0),
    reserved   bigint NOT NULL
);
CREATE TABLE row_lock.holds (
    id           text COLLATE "C" PRIMARY KEY,
    sku          text COLLATE "C" NOT NULL,
    quantity     integer NOT NULL,
    customer_id  text,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL
);

-- name: fill_stock
-- SKUs with a prefix and a number, as many units of each.
INSERT INTO row_lock.stock (sku, available, reserved)
SELECT $1::text || '-' || lpad(number::text, 5, '0'), $3::bigint, 0 FROM generate_series(0, $2::integer - 1) AS number;

-- name: lock_stock
-- The units that are left, and nobody else changes them until this transaction ends.
SELECT available FROM row_lock.stock WHERE sku = $1 FOR UPDATE;

-- name: take_stock
-- Units from available to reserved.
UPDATE row_lock.stock SET available = available - $2, reserved = reserved + $2 WHERE sku = $1;

-- name: insert_hold
-- Who has them.
INSERT INTO row_lock.holds (id, sku, quantity, customer_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6);
