-- name: list_quarantined
-- What is set aside, the oldest first.
SELECT shard, epoch, seq, happened_at, kind, payload, reason, at, replayed_at
FROM flush_quarantine WHERE replayed_at IS NULL ORDER BY epoch, seq LIMIT $1;

-- name: count_quarantined
-- How much is set aside.
SELECT count(*) FROM flush_quarantine WHERE replayed_at IS NULL;

-- name: lock_quarantined
-- One of them, for its replay.
SELECT shard, epoch, seq, happened_at, kind, payload, reason, at, replayed_at
FROM flush_quarantine WHERE shard = $1 AND epoch = $2 AND seq = $3 AND replayed_at IS NULL FOR UPDATE;

-- name: mark_replayed
-- It is applied now.
UPDATE flush_quarantine SET replayed_at = now() WHERE shard = $1 AND epoch = $2 AND seq = $3;

-- name: give_up
-- What is set aside of earlier epochs waits for a replay no more.
UPDATE flush_quarantine SET replayed_at = now(), reason = 'given up for a rebuild: ' || reason
WHERE shard = $1 AND epoch < $2 AND replayed_at IS NULL;
