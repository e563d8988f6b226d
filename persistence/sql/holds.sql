-- name: find_hold
-- One hold with its lines in order.
SELECT holds.id, status, customer_id, created_at, expires_at,
       array_agg(sku ORDER BY position) AS skus, array_agg(quantity ORDER BY position) AS quantities
FROM holds JOIN hold_lines ON hold_id = holds.id
WHERE holds.id = $1
GROUP BY holds.id;

-- name: list_overdue
-- Holds that should have ended some time ago, the oldest first.
SELECT holds.id, status, customer_id, created_at, expires_at,
       array_agg(sku ORDER BY position) AS skus, array_agg(quantity ORDER BY position) AS quantities
FROM holds JOIN hold_lines ON hold_id = holds.id
WHERE status = 'held' AND expires_at < now() - make_interval(secs => $1)
GROUP BY holds.id
ORDER BY expires_at
LIMIT $2;
