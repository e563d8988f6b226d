-- name: stock_levels
-- The counts of some SKUs.
SELECT sku, available, reserved, sold FROM stock_levels WHERE sku = ANY ($1::text[]);

-- name: log_places
-- How far each shard's event log is applied.
SELECT shard, epoch, seq FROM flush_offsets;

-- name: ledger_sums
-- All that the ledger has of some SKUs, and events that are there more than once.
SELECT sku, sum(delta_available)::bigint AS available, sum(delta_reserved)::bigint AS reserved,
       sum(delta_sold)::bigint AS sold, count(*) - count(DISTINCT event_id) AS repeated
FROM stock_ledger WHERE sku = ANY ($1::text[]) GROUP BY sku;

-- name: entries_since
-- What each reference sold, received or wrote off of some SKUs after a place in each shard's log.
SELECT coalesce(ledger.reference, '') AS reference, ledger.sku,
       sum(ledger.delta_available + ledger.delta_reserved + ledger.delta_sold)::bigint AS received,
       sum(ledger.delta_sold)::bigint AS sold
FROM stock_ledger AS ledger
JOIN unnest($2::integer[], $3::bigint[], $4::bigint[]) AS place (shard, epoch, seq)
  ON ledger.shard = place.shard AND (ledger.epoch, ledger.seq) > (place.epoch, place.seq)
WHERE ledger.sku = ANY ($1::text[]) AND ledger.kind IN ('commit', 'adjust')
GROUP BY 1, 2;

-- name: quarantined_since
-- Events after a place in each shard's log that could not be applied.
SELECT count(*)
FROM flush_quarantine AS poison
JOIN unnest($1::integer[], $2::bigint[], $3::bigint[]) AS place (shard, epoch, seq)
  ON poison.shard = place.shard AND (poison.epoch, poison.seq) > (place.epoch, place.seq)
WHERE poison.replayed_at IS NULL;

-- name: orders_of_carts
-- Every order that these carts became.
SELECT id, cart_id, customer_id, currency, subtotal, discount, total
FROM orders WHERE cart_id = ANY ($1::text[]) ORDER BY position;

-- name: items_of_orders
-- What was bought with these orders.
SELECT order_id, sku, quantity, unit_price, discount, final_price, total_price
FROM order_items WHERE order_id = ANY ($1::text[]) ORDER BY order_id, position;
