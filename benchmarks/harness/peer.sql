-- name: has_database
-- Whether the peers have their database.
SELECT true FROM pg_database WHERE datname = $1;

-- name: make_database
-- The peers' own.
CREATE DATABASE peers;
