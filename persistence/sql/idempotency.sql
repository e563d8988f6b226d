-- name: find_answer
-- What a caller's key was answered.
SELECT fingerprint, status, body, etag FROM idempotency WHERE client = $1 AND verb = $2 AND key = $3;

-- name: insert_answer
-- Remember an answer with the change that it tells of.
INSERT INTO idempotency (client, verb, key, fingerprint, status, body, etag) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: delete_old_answers
-- Forget answers that nobody may ask for any more.
DELETE FROM idempotency WHERE at < now() - make_interval(secs => $1);
