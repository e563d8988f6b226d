-- name: read_offset
-- How far a shard's log is applied.
SELECT epoch, seq FROM flush_offsets WHERE shard = $1;

-- name: lock_offset
-- The same, and until this transaction ends no other drainer passes, nor a verification (await_drainers).
SELECT epoch, seq, pg_advisory_xact_lock_shared(7015302, shard) FROM flush_offsets WHERE shard = $1 FOR UPDATE;

-- name: insert_offset
-- The first offset of a shard.
INSERT INTO flush_offsets (shard, epoch, seq) VALUES ($1, $2, $3);

-- name: move_offset
-- The log is applied up to here.
UPDATE flush_offsets SET epoch = $2, seq = $3, updated_at = now() WHERE shard = $1;

-- name: step_offset
-- The same, and since when what these events changed has changed.
WITH moved AS (UPDATE flush_offsets SET epoch = $2, seq = $4, updated_at = now() WHERE shard = $1)
INSERT INTO flush_steps (shard, epoch, after_seq, seq, since) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (shard, epoch, seq) DO UPDATE
SET after_seq = least(flush_steps.after_seq, excluded.after_seq), since = least(flush_steps.since, excluded.since);

-- name: delete_old_steps
-- Steps longer ago than any tail is repaired.
DELETE FROM flush_steps WHERE at < now() - make_interval(secs => $1);

-- name: insert_levels
-- SKUs that come into being, with no units yet.
INSERT INTO stock_levels (sku, available, reserved, sold, received, customer_limit, updated_at)
SELECT sku, 0, 0, 0, 0, nullif(customer_limit, 0), at
FROM unnest($1::text[], $2::integer[], $3::timestamptz[]) AS fresh (sku, customer_limit, at)
ON CONFLICT (sku) DO NOTHING;

-- name: insert_ledger_events
-- The ledger, and the sums of those of its rows that are really new; `skus` and `moved` differ where a level is missing.
WITH fresh AS (
    INSERT INTO stock_ledger
        (sku, shard, epoch, seq, kind, delta_available, delta_reserved, delta_sold, reference, reason, at)
    SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[],
                         $8::bigint[], $9::text[], $10::text[], $11::timestamptz[])
    ON CONFLICT DO NOTHING
    RETURNING sku, delta_available, delta_reserved, delta_sold, at
), sums AS (
    SELECT sku, sum(delta_available)::bigint AS available, sum(delta_reserved)::bigint AS reserved,
           sum(delta_sold)::bigint AS sold, max(at) AS at
    FROM fresh GROUP BY sku
), moved AS (
    UPDATE stock_levels AS level
    SET available = level.available + sums.available,
        reserved = level.reserved + sums.reserved,
        sold = level.sold + sums.sold,
        received = level.received + sums.available + sums.reserved + sums.sold,
        updated_at = greatest(level.updated_at, sums.at)
    FROM sums WHERE sums.sku = level.sku
    RETURNING level.sku
)
SELECT (SELECT count(*) FROM sums) AS skus, (SELECT count(*) FROM moved) AS moved;

-- name: move_levels
-- The counts after movements that are summed up already.
UPDATE stock_levels AS level
SET available = level.available + sums.available,
    reserved = level.reserved + sums.reserved,
    sold = level.sold + sums.sold,
    received = level.received + sums.available + sums.reserved + sums.sold,
    updated_at = greatest(level.updated_at, $1)
FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[]) AS sums (sku, available, reserved, sold)
WHERE sums.sku = level.sku
RETURNING level.sku;

-- name: insert_holds
-- Holds made, as they stand at the end of what is applied together; one that is there is brought up to that.
INSERT INTO holds (id, status, customer_id, created_at, expires_at, settled_at, reference, ttl_ms, fingerprint, lines)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
                     $7::text[], $8::bigint[], $9::text[], $10::text[])
ON CONFLICT (id) DO UPDATE
SET status = excluded.status, expires_at = excluded.expires_at, settled_at = excluded.settled_at,
    reference = excluded.reference
WHERE holds.status = 'held' AND (excluded.status <> 'held' OR excluded.expires_at > holds.expires_at);

-- name: settle_holds
-- Older holds that ended.
UPDATE holds
SET status = ended.status, settled_at = ended.at, reference = nullif(ended.reference, '')
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS ended (id, status, reference, at)
WHERE holds.id = ended.id AND holds.status = 'held';

-- name: extend_holds
-- Older holds that live longer.
UPDATE holds SET expires_at = longer.expires_at
FROM unnest($1::text[], $2::timestamptz[]) AS longer (id, expires_at)
WHERE holds.id = longer.id AND holds.status = 'held';

-- name: count_holds
-- How many of these are known.
SELECT count(*) FROM holds WHERE id = ANY ($1::text[]);

-- name: insert_memories
-- Answers of keyed operations.
INSERT INTO operation_memories (shard, token, memory, at)
SELECT * FROM unnest($1::integer[], $2::text[], $3::text[], $4::timestamptz[])
ON CONFLICT (shard, token) DO UPDATE SET memory = excluded.memory, at = excluded.at;

-- name: insert_poison
-- An event set aside with its reason.
INSERT INTO flush_quarantine (shard, epoch, seq, happened_at, kind, payload, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (shard, epoch, seq) DO NOTHING;

-- name: delete_old_memories
-- Answers that nobody may ask for any more.
DELETE FROM operation_memories WHERE at < now() - make_interval(secs => $1);
