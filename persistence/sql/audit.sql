-- name: levels_as_of
-- Every SKU's counts at a place in the log: what they are now, less what the ledger moved since.
SELECT sku, available - later.moved_available AS available, reserved - later.moved_reserved AS reserved,
       sold - later.moved_sold AS sold, received - later.moved_available - later.moved_reserved - later.moved_sold AS received
FROM stock_levels AS level
CROSS JOIN LATERAL (
    SELECT coalesce(sum(delta_available), 0)::bigint AS moved_available,
           coalesce(sum(delta_reserved), 0)::bigint AS moved_reserved,
           coalesce(sum(delta_sold), 0)::bigint AS moved_sold
    FROM stock_ledger AS ledger
    WHERE ledger.sku = level.sku AND shard = $1 AND (epoch, seq) > ($2, $3)
) AS later;

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
-- SKUs whose reserved units are not those of the live holds, of which many claim the same.
SELECT sku, reserved, coalesce(held, 0) AS held
FROM stock_levels FULL JOIN (
    SELECT sku, sum(quantity * alike)::bigint AS held
    FROM (SELECT lines, count(*) AS alike FROM holds WHERE status = 'held' GROUP BY lines) AS claims
    CROSS JOIN LATERAL lines_of_hold(lines)
    GROUP BY sku
) AS live USING (sku)
WHERE coalesce(reserved, 0) <> coalesce(held, 0)
ORDER BY sku LIMIT $1;

-- name: orders_against_ledger
-- Of the orders that changed last: SKUs of which other units than the order's items were sold for it, or came back.
WITH recent AS (
    SELECT id, stock FROM orders ORDER BY updated_at DESC LIMIT $1
), bought AS (
    SELECT id, sku, sum(CASE WHEN stock IN ('sold', 'returned') THEN quantity ELSE 0 END)::bigint AS sold,
           sum(CASE WHEN stock = 'returned' THEN quantity ELSE 0 END)::bigint AS returned
    FROM recent JOIN order_items ON order_id = id GROUP BY id, sku
), moved AS (
    SELECT id, sku, coalesce(sum(delta_sold) FILTER (WHERE kind = 'commit'), 0)::bigint AS sold,
           coalesce(-sum(delta_sold) FILTER (WHERE kind = 'adjust'), 0)::bigint AS returned
    FROM recent JOIN stock_ledger ON reference = id AND starts_with(reference, 'ord_') GROUP BY id, sku
)
SELECT id, sku, coalesce(bought.sold, 0) AS sold, coalesce(bought.returned, 0) AS returned,
       coalesce(moved.sold, 0) AS ledger_sold, coalesce(moved.returned, 0) AS ledger_returned
FROM bought FULL JOIN moved USING (id, sku)
WHERE (coalesce(bought.sold, 0), coalesce(bought.returned, 0))
      <> (coalesce(moved.sold, 0), coalesce(moved.returned, 0))
ORDER BY id, sku LIMIT $2;

-- name: levels_from_ledger
-- Counts set to what the ledger proves, also where there are none.
INSERT INTO stock_levels AS level (sku, available, reserved, sold, received, updated_at)
SELECT sku, available, reserved, sold, available + reserved + sold, now()
FROM (
    SELECT sku, sum(delta_available)::bigint AS available, sum(delta_reserved)::bigint AS reserved,
           sum(delta_sold)::bigint AS sold
    FROM stock_ledger GROUP BY sku
) AS sums
ON CONFLICT (sku) DO UPDATE
SET available = excluded.available, reserved = excluded.reserved, sold = excluded.sold, received = excluded.received,
    updated_at = excluded.updated_at
WHERE (level.available, level.reserved, level.sold)
      IS DISTINCT FROM (excluded.available, excluded.reserved, excluded.sold);

-- name: record_audit
-- What an audit found, in the place of what the one before it found.
INSERT INTO audits (shard, epoch, seq, skus, differences, quarantined, orphans_unproven, took_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (shard) DO UPDATE
SET epoch = excluded.epoch, seq = excluded.seq, skus = excluded.skus, differences = excluded.differences,
    quarantined = excluded.quarantined, orphans_unproven = excluded.orphans_unproven, took_ms = excluded.took_ms, at = excluded.at;

-- name: read_last_audit
-- What a shard's last audit found, and when.
SELECT differences, quarantined, orphans_unproven, at FROM audits WHERE shard = $1;

-- name: was_costly_lately
-- Whether the last audit took this many ms or more, and is not so many times as long ago.
SELECT EXISTS (
    SELECT FROM audits WHERE shard = $1 AND took_ms >= $2 AND now() < at + took_ms * $3::integer * interval '1 ms'
);
