-- name: lock_shard
-- One verifier or rebuilder of a shard at a time. Held by the session, since a transaction that idles is ended.
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
SELECT holds.id, status, customer_id, created_at, expires_at, settled_at, ttl_ms, fingerprint,
       array_agg(sku ORDER BY position) AS skus, array_agg(quantity ORDER BY position) AS quantities
FROM holds JOIN hold_lines ON hold_id = holds.id
WHERE status = 'held' OR settled_at > $1
GROUP BY holds.id;

-- name: list_customers
-- Units held and sold to each customer, where a limit counts them.
SELECT lines.sku, customer_id, sum(quantity)::bigint AS units
FROM holds
JOIN hold_lines AS lines ON hold_id = holds.id
JOIN stock_levels AS level ON level.sku = lines.sku AND level.customer_limit IS NOT NULL
WHERE status IN ('held', 'committed') AND customer_id IS NOT NULL
GROUP BY lines.sku, customer_id;

-- name: list_memories
-- Answers of keyed operations that may still be asked for.
SELECT token, memory, at FROM operation_memories WHERE shard = $1 AND at > $2;
