-- name: upsert_carts
-- Carts as they stand at the end of what is applied together; a newer version that is there already stays.
INSERT INTO carts (id, customer_id, status, version, record, expires_at, updated_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::timestamptz[],
                     $7::timestamptz[])
ON CONFLICT (id) DO UPDATE
SET customer_id = excluded.customer_id, status = excluded.status, version = excluded.version, record = excluded.record,
    expires_at = excluded.expires_at, updated_at = excluded.updated_at
WHERE carts.version < excluded.version;

-- name: delete_old_carts
-- Some of the carts that ran out, or were closed, longer ago than anybody may ask for them.
DELETE FROM carts
WHERE id IN (
    SELECT id FROM carts
    WHERE expires_at < now() - make_interval(secs => $1)
       OR (status IN ('ordered', 'merged') AND updated_at < now() - make_interval(secs => $1))
    LIMIT $2
);
