-- name: levels
-- Every SKU.
SELECT sku, available, reserved, sold, received, customer_limit FROM stock_levels;

-- name: holds
-- Every live hold with its lines.
SELECT id, status, customer_id, created_at, expires_at, array_agg(sku) AS skus, array_agg(quantity) AS quantities
FROM holds JOIN hold_lines ON hold_id = id
WHERE status = 'held' GROUP BY id;
