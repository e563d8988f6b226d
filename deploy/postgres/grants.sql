-- What each role may do with each table. Run with psql by holdfast_owner after every migration; run again, it changes
-- nothing. A table that is not named here belongs to its owner alone.
\set ON_ERROR_STOP on
SET client_min_messages = 'warning';

BEGIN;
REVOKE ALL ON ALL TABLES IN SCHEMA public
    FROM PUBLIC, holdfast_api, holdfast_worker, holdfast_operator, holdfast_reader;

-- The API changes the catalogue. What is derived from the event log it only reads.
GRANT SELECT, INSERT, UPDATE, DELETE ON categories, products, variants, pricing_rules, coupons TO holdfast_api;
GRANT SELECT, UPDATE ON catalogue_version TO holdfast_api;
GRANT SELECT, INSERT ON catalogue_deletions, idempotency TO holdfast_api;
GRANT SELECT ON installation, flush_offsets, audits, stock_levels, stock_ledger, holds, hold_lines, orders, api_keys
    TO holdfast_api;

-- A worker applies the event log and audits the books. Nobody changes or deletes what the ledger says.
GRANT SELECT, INSERT ON stock_ledger, order_items TO holdfast_worker;
GRANT SELECT, INSERT, UPDATE ON flush_offsets, audits, stock_levels, holds, orders, flush_quarantine TO holdfast_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON operation_memories, carts, flush_steps TO holdfast_worker;
GRANT SELECT ON installation, hold_lines, catalogue_version, categories, products, variants, pricing_rules, coupons
    TO holdfast_worker;
GRANT SELECT, DELETE ON catalogue_deletions, idempotency TO holdfast_worker;

-- An operator is both of them, and makes and revokes keys.
GRANT SELECT, INSERT, UPDATE (revoked_at) ON api_keys TO holdfast_operator;

-- A reader sees what the documentation calls public: stock, its ledger, holds, orders, how far the log is applied, and what
-- the last audit found.
GRANT SELECT ON stock_levels, stock_ledger, holds, hold_lines, orders, order_items, flush_offsets, audits
    TO holdfast_reader;
COMMIT;
