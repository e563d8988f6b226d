-- name: levels
-- Every SKU.
SELECT sku, available, reserved, sold, received, customer_limit FROM stock_levels;

-- name: holds
-- Every live hold with its lines.
SELECT id, status, customer_id, created_at, expires_at, lines FROM holds WHERE status = 'held';
