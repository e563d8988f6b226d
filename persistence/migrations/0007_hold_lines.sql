-- A hold and its lines come from one event, in one transaction; checking each line against its hold costs more than
-- writing it.

ALTER TABLE hold_lines DROP CONSTRAINT hold_lines_hold_id_fkey;
COMMENT ON COLUMN hold_lines.hold_id IS 'Of holds; written together with it';
