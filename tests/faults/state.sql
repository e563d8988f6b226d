-- What PostgreSQL knows of one history: its SKUs, its customers' holds and its carts' orders.

-- name: levels
SELECT sku, available, reserved, sold, received FROM stock_levels WHERE sku = ANY($1::text[]);

-- name: holds
SELECT id, status, coalesce(customer_id, '') AS customer, extract(epoch FROM created_at)::float8 AS created_s,
       extract(epoch FROM expires_at)::float8 AS expires_s, coalesce(extract(epoch FROM settled_at), 0)::float8 AS settled_s
FROM holds WHERE customer_id = ANY($1::text[]);

-- name: hold_lines
SELECT hold_id, sku, quantity FROM hold_lines WHERE hold_id = ANY($1::text[]) ORDER BY hold_id, position;

-- name: orders
SELECT id, cart_id, status, payment_status, stock, subtotal, discount, total, currency
FROM orders WHERE cart_id = ANY($1::text[]) OR customer_id = ANY($2::text[]);

-- name: order_items
SELECT order_id, sku, quantity, total_price FROM order_items WHERE order_id = ANY($1::text[]) ORDER BY order_id, position;

-- name: ledger
SELECT sku, kind, coalesce(reference, '') AS reference, delta_available, delta_reserved, delta_sold
FROM stock_ledger WHERE sku = ANY($1::text[]);

-- name: repeated
SELECT DISTINCT sku FROM (
    SELECT sku FROM stock_ledger WHERE sku = ANY($1::text[]) GROUP BY sku, shard, epoch, seq HAVING count(*) > 1
) AS twice;

-- name: quarantined
SELECT count(*) FROM flush_quarantine WHERE replayed_at IS NULL;

-- name: discard_quarantined
UPDATE flush_quarantine SET replayed_at = now() WHERE replayed_at IS NULL;

-- name: offset
SELECT epoch, seq FROM flush_offsets WHERE shard = 0;

-- name: last_of_epoch
SELECT coalesce(max(seq), 0) FROM flush_steps WHERE shard = 0 AND epoch = $1;

-- name: hold_is_there
SELECT EXISTS (SELECT FROM holds WHERE id = $1);

-- name: skip_event
UPDATE flush_offsets SET seq = seq + 1 WHERE shard = 0;

-- name: set_back
UPDATE flush_offsets SET seq = least(seq, $1) WHERE shard = 0;

