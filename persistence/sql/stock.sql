-- name: ledger_page
-- A SKU's ledger, newest first, below a place in the log.
SELECT epoch, seq, event_id, kind, delta_available, delta_reserved, delta_sold, reference, reason, at
FROM stock_ledger
WHERE sku = $1 AND (epoch, seq) < ($2, $3)
ORDER BY epoch DESC, seq DESC
LIMIT $4;

-- name: knows_sku
-- Whether a SKU was ever flushed.
SELECT EXISTS (SELECT FROM stock_levels WHERE sku = $1);

-- name: was_sold
-- Whether any of these SKUs ever sold.
SELECT EXISTS (SELECT FROM stock_ledger WHERE sku = ANY ($1::text[]) AND kind = 'commit');
