-- name: find_holds
-- Some holds with their lines in order.
SELECT id, status, customer_id, created_at, expires_at, lines
FROM holds
WHERE id = ANY ($1::text[]);

-- name: list_overdue
-- Holds that should have ended some time ago, the oldest first.
SELECT id, status, customer_id, created_at, expires_at, lines
FROM holds
WHERE status = 'held' AND expires_at < now() - make_interval(secs => $1)
ORDER BY expires_at
LIMIT $2;
