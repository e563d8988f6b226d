-- name: list_since
-- The variants that changed after a version.
SELECT id, position, product_id, sku, attributes, price_adjustment, retired, version, created_at, updated_at
FROM variants WHERE version > $1;

-- name: insert_variant
-- A new variant.
INSERT INTO variants (id, product_id, sku, attributes, price_adjustment, version) VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id, position, product_id, sku, attributes, price_adjustment, retired, version, created_at, updated_at;

-- name: update_variant
-- All of a variant that may change; its SKU may not.
UPDATE variants
SET product_id = $2, attributes = $3, price_adjustment = $4, retired = $5, version = $6, updated_at = now()
WHERE id = $1
RETURNING id, position, product_id, sku, attributes, price_adjustment, retired, version, created_at, updated_at;

-- name: delete_variant
-- A variant that never sold.
DELETE FROM variants WHERE id = $1;
