-- name: levels_as_of
-- Every SKU's counts at a place in the log: what they are now, less what the ledger moved since.
WITH later AS (
    SELECT sku, sum(delta_available)::bigint AS available, sum(delta_reserved)::bigint AS reserved,
           sum(delta_sold)::bigint AS sold
    FROM stock_ledger WHERE shard = $1 AND (epoch, seq) > ($2, $3) GROUP BY sku
)
SELECT level.sku,
       level.available - coalesce(later.available, 0) AS available,
       level.reserved - coalesce(later.reserved, 0) AS reserved,
       level.sold - coalesce(later.sold, 0) AS sold,
       level.received - coalesce(later.available + later.reserved + later.sold, 0) AS received
FROM stock_levels AS level LEFT JOIN later ON later.sku = level.sku;

-- name: levels_against_ledger
-- SKUs whose counts are not the sum of their ledger.
SELECT sku, level.available, level.reserved, level.sold, sums.available AS ledger_available, sums.reserved AS ledger_reserved,
       sums.sold AS ledger_sold
FROM stock_levels AS level FULL JOIN (
    SELECT sku, sum(delta_available)::bigint AS available, sum(delta_reserved)::bigint AS reserved,
           sum(delta_sold)::bigint AS sold
    FROM stock_ledger GROUP BY sku
) AS sums USING (sku)
WHERE (level.available, level.reserved, level.sold) IS DISTINCT FROM (sums.available, sums.reserved, sums.sold)
ORDER BY sku LIMIT $1;

-- name: reserved_against_holds
-- SKUs whose reserved units are not those of the live holds.
SELECT sku, reserved, coalesce(held, 0) AS held
FROM stock_levels FULL JOIN (
    SELECT sku, sum(quantity)::bigint AS held
    FROM holds JOIN hold_lines ON hold_id = id WHERE status = 'held' GROUP BY sku
) AS live USING (sku)
WHERE coalesce(reserved, 0) <> coalesce(held, 0)
ORDER BY sku LIMIT $1;

-- name: levels_from_ledger
-- Counts set to what the ledger proves.
UPDATE stock_levels AS level
SET available = sums.available, reserved = sums.reserved, sold = sums.sold,
    received = sums.available + sums.reserved + sums.sold, updated_at = now()
FROM (
    SELECT sku, sum(delta_available)::bigint AS available, sum(delta_reserved)::bigint AS reserved,
           sum(delta_sold)::bigint AS sold
    FROM stock_ledger GROUP BY sku
) AS sums
WHERE sums.sku = level.sku
  AND (level.available, level.reserved, level.sold) IS DISTINCT FROM (sums.available, sums.reserved, sums.sold);
