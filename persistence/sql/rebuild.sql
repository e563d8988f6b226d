-- name: try_lock_shard
-- One verifier or rebuilder of a shard at a time. Held by the session, since a transaction that idles is ended.
SELECT pg_try_advisory_lock(7015301, $1);

-- name: lock_shard
-- The same, once whoever has it is done.
SELECT pg_advisory_lock(7015301, $1);

-- name: unlock_shard
-- The next one may.
SELECT pg_advisory_unlock(7015301, $1);

-- name: read_installation
-- The name of this database.
SELECT id FROM installation;

-- name: list_levels
-- Every SKU.
SELECT sku, available, reserved, sold, received, customer_limit FROM stock_levels ORDER BY sku;

-- name: list_holds
-- Live holds, and those that ended so recently that a retry may still ask for them.
SELECT id, status, customer_id, created_at, expires_at, settled_at, ttl_ms, fingerprint, lines
FROM holds
WHERE status = 'held' OR settled_at > $1;

-- name: list_customers
-- Units held and sold to each customer, where a limit counts them; where there is none the holds are not read at all.
SELECT sku, customer_id, sum(units)::bigint AS units
FROM (
    SELECT sku, customer_id, quantity AS units
    FROM holds CROSS JOIN LATERAL lines_of_hold(lines)
    WHERE status IN ('held', 'committed') AND customer_id IS NOT NULL
    UNION ALL
    SELECT sku, customer_id, -quantity
    FROM orders JOIN order_items ON order_id = id
    WHERE stock = 'returned' AND customer_id IS NOT NULL
) AS counted
JOIN stock_levels USING (sku)
WHERE customer_limit IS NOT NULL AND EXISTS (SELECT FROM stock_levels WHERE customer_limit IS NOT NULL)
GROUP BY sku, customer_id
HAVING sum(units) > 0;

-- name: list_memories
-- Answers of keyed operations that may still be asked for.
SELECT token, memory, at FROM operation_memories WHERE shard = $1 AND at > $2;

-- name: list_carts
-- Live carts, and those that were closed so recently that somebody may still ask for them; newer ones last.
SELECT id, record, expires_at, updated_at FROM carts
WHERE (status IN ('open', 'paying') AND expires_at > $1) OR (status IN ('ordered', 'merged') AND updated_at > $2)
ORDER BY updated_at;

-- name: list_orders
-- Orders whose payment is waited for, those that may still change, and those that changed recently.
SELECT id, record FROM orders
WHERE stock = 'held' OR updated_at > $1 OR (updated_at > $2 AND status <> ALL ($3::text[]));

-- name: list_coupon_counts
-- Orders that each coupon is counted for: all of them, and those of each customer.
SELECT coupon_id, NULL AS customer_id, count(*) AS orders FROM orders WHERE is_coupon_counted GROUP BY coupon_id
UNION ALL
SELECT coupon_id, customer_id, count(*) FROM orders
WHERE is_coupon_counted AND customer_id IS NOT NULL
GROUP BY coupon_id, customer_id;
