-- name: insert_key
-- A new key; only the hash of its secret is kept.
INSERT INTO api_keys (id, name, scope, secret_hash) VALUES ($1, $2, $3, $4)
RETURNING id, name, scope, created_at, revoked_at;

-- name: find_key
-- The key whose secret has this hash.
SELECT id, name, scope, created_at, revoked_at FROM api_keys WHERE secret_hash = $1;

-- name: list_keys
-- Every key, the oldest first.
SELECT id, name, scope, created_at, revoked_at FROM api_keys ORDER BY created_at, id;

-- name: revoke_key
-- From now on this key opens nothing; whoever listens hears of it as this commits.
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1
RETURNING id, name, scope, created_at, revoked_at, pg_notify($2, id);

-- name: touch_connection
-- Whether the connection still leads anywhere.
SELECT 1;
