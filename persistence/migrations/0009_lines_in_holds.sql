-- A hold and its lines are one row: a row and an index entry for each line were a quarter of what a hold cost here.

ALTER TABLE holds ADD COLUMN lines text;
UPDATE holds SET lines = coalesce(
    (SELECT '[' || string_agg('[' || to_json(sku) || ',' || quantity || ']', ',' ORDER BY position) || ']'
     FROM hold_lines WHERE hold_id = holds.id),
    '[]'
);
ALTER TABLE holds ALTER COLUMN lines SET NOT NULL;
COMMENT ON COLUMN holds.lines IS 'What it claims, as JSON: [[sku, quantity]…]; the view hold_lines shows each';

CREATE FUNCTION lines_of_hold(lines text) RETURNS TABLE ("position" smallint, sku text, quantity integer)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT (nth - 1)::smallint, line ->> 0, (line ->> 1)::integer
    FROM jsonb_array_elements(lines::jsonb) WITH ORDINALITY AS told (line, nth)
$$;
COMMENT ON FUNCTION lines_of_hold IS 'The lines of a hold, from its column of that name';

DROP TABLE hold_lines;
CREATE VIEW hold_lines AS
SELECT id AS hold_id, position, sku COLLATE "C" AS sku, quantity
FROM holds CROSS JOIN LATERAL lines_of_hold(lines);
COMMENT ON VIEW hold_lines IS 'What each hold claims, one row a SKU';

-- Made up when somebody asks for it, instead of for every row that is written.
ALTER TABLE stock_ledger
    DROP COLUMN event_id,
    ADD COLUMN event_id text
        GENERATED ALWAYS AS ('s' || shard::text || '-' || epoch::text || '-' || seq::text) VIRTUAL;
