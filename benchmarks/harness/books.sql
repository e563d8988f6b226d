-- name: applied
-- How many events of an epoch are applied.
SELECT seq FROM flush_offsets WHERE shard = $1 AND epoch = $2;

-- name: levels
-- The counts of every SKU.
SELECT sku, available, reserved, sold, received FROM stock_levels;

-- name: against_ledger
-- SKUs whose counts are not the sum of their ledger.
SELECT sku FROM stock_levels AS level FULL JOIN (
    SELECT sku, sum(delta_available) AS available, sum(delta_reserved) AS reserved, sum(delta_sold) AS sold
    FROM stock_ledger GROUP BY sku
) AS sums USING (sku)
WHERE (level.available, level.reserved, level.sold) IS DISTINCT FROM (sums.available, sums.reserved, sums.sold)
ORDER BY sku LIMIT 10;

-- name: against_holds
-- SKUs whose reserved units are not those of the live holds.
SELECT sku FROM stock_levels FULL JOIN (
    SELECT sku, sum(quantity) AS held FROM holds CROSS JOIN LATERAL lines_of_hold(lines) WHERE status = 'held' GROUP BY sku
) AS live USING (sku)
WHERE coalesce(reserved, 0) <> coalesce(held, 0)
ORDER BY sku LIMIT 10;

-- name: quarantined
-- Events that could not be applied.
SELECT count(*) FROM flush_quarantine WHERE replayed_at IS NULL;
