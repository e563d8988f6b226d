-- name: read_version
-- How far the catalogue has changed.
SELECT version FROM catalogue_version;

-- name: begin_change
-- One writer of the catalogue at a time; answers the version that its rows shall carry. Readers are not held up.
UPDATE catalogue_version SET version = version + 1 RETURNING version;

-- name: list_deletions_since
-- What was deleted after a version.
SELECT id FROM catalogue_deletions WHERE version > $1;

-- name: insert_deletion
-- Say that a row is gone.
INSERT INTO catalogue_deletions (id, version) VALUES ($1, $2);

-- name: delete_old_deletions
-- Forget deletions that every catalogue in memory has heard of.
DELETE FROM catalogue_deletions WHERE at < now() - make_interval(secs => $1);
