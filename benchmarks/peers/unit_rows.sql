-- name: drop_schema
-- What an earlier run left.
DROP SCHEMA IF EXISTS unit_rows CASCADE;

-- name: make_schema
-- One row a unit, one row a hold.
CREATE SCHEMA unit_rows;
CREATE TABLE unit_rows.units (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku      text COLLATE "C" NOT NULL,
    hold_id  text COLLATE "C"
);
CREATE TABLE unit_rows.holds (
    id           text COLLATE "C" PRIMARY KEY,
    customer_id  text,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL
);

-- name: fill_stock
-- SKUs with a prefix and a number, as many units of each.
INSERT INTO unit_rows.units (sku)
SELECT $1::text || '-' || lpad(number::text, 5, '0')
FROM generate_series(0, $2::integer - 1) AS number, generate_series(1, $3::bigint);

-- name: index_stock
-- The free units of a SKU.
CREATE INDEX units_free ON unit_rows.units (sku) WHERE hold_id IS NULL;

-- name: lock_units
-- Free units that nobody else is about to take.
SELECT id FROM unit_rows.units WHERE sku = $1 AND hold_id IS NULL LIMIT $2 FOR UPDATE SKIP LOCKED;

-- name: take_units
-- These units for a hold.
UPDATE unit_rows.units SET hold_id = $2 WHERE id = ANY ($1::bigint[]);

-- name: insert_hold
-- Who has them.
INSERT INTO unit_rows.holds (id, customer_id, created_at, expires_at) VALUES ($1, $2, $3, $4);
