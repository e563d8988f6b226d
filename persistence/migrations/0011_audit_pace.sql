-- How long the last audit took, so that the next one is not begun too soon after it.

ALTER TABLE audits ADD COLUMN took_ms bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN audits.took_ms IS 'Of reading and comparing, in ms: it grows with the ledger';
