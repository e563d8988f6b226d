-- name: make_table
-- A table with the columns of the ledger and nothing else.
CREATE TABLE copied (
    sku text, shard integer, epoch bigint, seq bigint, kind text, delta_available bigint, delta_reserved bigint,
    delta_sold bigint, reference text, reason text, at timestamptz
);

-- name: drop_table
-- It is gone again.
DROP TABLE IF EXISTS copied;
