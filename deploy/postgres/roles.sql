-- The roles of a deployment. Run with psql by a superuser in Holdfast's database, before the migrations; run again, it sets
-- the passwords anew. They come from POSTGRES_<ROLE>_PASSWORD, and the server's log has none of them.
\set ON_ERROR_STOP on
\getenv owner_password POSTGRES_OWNER_PASSWORD
\getenv api_password POSTGRES_API_PASSWORD
\getenv worker_password POSTGRES_WORKER_PASSWORD
\getenv operator_password POSTGRES_OPERATOR_PASSWORD
SELECT current_database() AS database \gset

BEGIN;
SET LOCAL log_statement = 'none';
SET LOCAL log_min_error_statement = 'panic';
SET LOCAL log_min_duration_statement = -1;
SET LOCAL log_min_duration_sample = -1;
SET LOCAL client_min_messages = 'warning';

SELECT format('CREATE ROLE %I', name)
FROM unnest(ARRAY['holdfast_owner', 'holdfast_api', 'holdfast_worker', 'holdfast_operator', 'holdfast_reader']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

-- Owns every table: migrations and grants, nothing else.
ALTER ROLE holdfast_owner LOGIN PASSWORD :'owner_password'
    NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE holdfast_api LOGIN PASSWORD :'api_password'
    NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE holdfast_worker LOGIN PASSWORD :'worker_password'
    NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
-- Somebody with the command line: API keys, imports, quarantine, reconcile, rebuild.
ALTER ROLE holdfast_operator LOGIN PASSWORD :'operator_password'
    NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
-- No login of its own: CREATE ROLE ann LOGIN PASSWORD '…' IN ROLE holdfast_reader.
ALTER ROLE holdfast_reader NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
GRANT holdfast_api, holdfast_worker TO holdfast_operator;

-- Its owner may create in the schema public; nobody else may, and nobody else but these may come in.
ALTER DATABASE :"database" OWNER TO holdfast_owner;
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO holdfast_api, holdfast_worker, holdfast_operator, holdfast_reader;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO holdfast_api, holdfast_worker, holdfast_operator, holdfast_reader;
COMMIT;
