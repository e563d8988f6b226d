-- name: await_drainers
-- Returns when every drainer's transaction that had begun is over, so that no event of a Redis that is gone comes late.
SELECT pg_advisory_xact_lock(7015302, $1);

-- name: read_tail
-- The steps of the flush that went beyond an event: how far back they reach, how far they go, and since when they tell.
SELECT min(after_seq) AS after_seq, max(seq) AS seq, min(since) AS since
FROM flush_steps WHERE shard = $1 AND epoch = $2 AND seq > $3;

-- name: count_set_aside
-- Events of an epoch that were not applied as Redis told them.
SELECT count(*) FROM flush_quarantine WHERE shard = $1 AND epoch = $2;

-- name: list_levels_with_tail
-- Every SKU, and the sums of its movements after an event.
SELECT level.sku, available, reserved, sold, received, customer_limit, moved_available, moved_reserved, moved_sold
FROM stock_levels AS level
CROSS JOIN LATERAL (
    SELECT coalesce(sum(delta_available), 0)::bigint AS moved_available,
           coalesce(sum(delta_reserved), 0)::bigint AS moved_reserved,
           coalesce(sum(delta_sold), 0)::bigint AS moved_sold
    FROM stock_ledger AS ledger
    WHERE ledger.sku = level.sku AND shard = $1 AND epoch = $2 AND seq > $3
) AS moved;

-- name: list_live_holds
-- Every live hold, and when it ends.
SELECT id, (extract(epoch FROM expires_at) * 1000)::bigint AS expires_ms FROM holds WHERE status = 'held';

-- name: list_tail_holds
-- Some live holds, and those that ended since then.
SELECT id, status, customer_id, created_at, expires_at, settled_at, ttl_ms, fingerprint, lines
FROM holds
WHERE id = ANY ($1::text[]) OR (status <> 'held' AND settled_at >= $2);

-- name: list_tail_customers
-- What the movements after an event came to for each customer, where a limit counts units: those held and sold together.
WITH tail AS (
    SELECT ledger.sku, kind, reference, delta_reserved + delta_sold AS units
    FROM stock_levels
    CROSS JOIN LATERAL (
        SELECT * FROM stock_ledger
        WHERE stock_ledger.sku = stock_levels.sku AND shard = $1 AND epoch = $2 AND seq > $3
    ) AS ledger
    WHERE customer_limit IS NOT NULL
)
SELECT sku, customer_id, sum(units)::bigint AS units
FROM (
    SELECT sku, customer_id, units FROM tail JOIN holds ON id = tail.reference
    WHERE kind IN ('reserve', 'release', 'expire') AND customer_id IS NOT NULL
    UNION ALL
    SELECT sku, customer_id, units FROM tail JOIN orders ON id = tail.reference
    WHERE kind = 'adjust' AND customer_id IS NOT NULL
) AS counted
GROUP BY sku, customer_id
HAVING sum(units) <> 0;

-- name: list_tail_memories
-- Answers of keyed operations that were given since then.
SELECT token, memory, at FROM operation_memories WHERE shard = $1 AND at >= $2;

-- name: list_tail_carts
-- Carts that changed since then, and whether Redis still keeps each.
SELECT id, customer_id, record, expires_at, updated_at,
       CASE WHEN status IN ('open', 'paying') THEN expires_at > $2 ELSE updated_at > $3 END AS is_kept
FROM carts WHERE updated_at >= $1;

-- name: list_carts_of
-- The live carts of some customers, newer ones last.
SELECT id, customer_id, expires_at FROM carts
WHERE customer_id = ANY ($1::text[]) AND status IN ('open', 'paying') AND expires_at > $2
ORDER BY updated_at;

-- name: list_tail_orders
-- Orders that changed since then.
SELECT id, record FROM orders WHERE updated_at >= $1;

-- name: list_waiting_orders
-- Orders whose payment is waited for, and until when.
SELECT id, (extract(epoch FROM payment_until) * 1000)::bigint AS until_ms FROM orders WHERE stock = 'held';

-- name: list_coupon_counts_of
-- Orders that some coupons are counted for: all of them, and those of some customers.
SELECT coupon_id, NULL AS customer_id,
       (SELECT count(*) FROM orders WHERE orders.coupon_id = wanted.coupon_id AND is_coupon_counted) AS orders
FROM unnest($1::text[]) AS wanted (coupon_id)
UNION ALL
SELECT coupon_id, customer_id,
       (SELECT count(*) FROM orders WHERE orders.coupon_id = wanted.coupon_id
                                      AND orders.customer_id = wanted.customer_id AND is_coupon_counted)
FROM unnest($2::text[], $3::text[]) AS wanted (coupon_id, customer_id);
