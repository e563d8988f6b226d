-- name: lock_variants
-- One writer of the catalogue at a time, so that a SKU is never inserted twice; readers are not held up.
LOCK TABLE variants IN SHARE ROW EXCLUSIVE MODE;

-- name: upsert_products
-- A product with one variant for each SKU that has none; name, price and what else was told for those that have one.
WITH given AS (
    SELECT product_id, variant_id, sku, name, base_price, currency, description,
           CASE WHEN category IS NULL THEN '{}'::jsonb ELSE jsonb_build_object('category', category) END AS attributes
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[])
         AS told (product_id, variant_id, sku, name, base_price, currency, description, category)
), updated AS (
    UPDATE products AS product
    SET name = given.name, base_price = given.base_price, currency = given.currency,
        description = coalesce(given.description, product.description),
        attributes = product.attributes || given.attributes, updated_at = now()
    FROM given JOIN variants AS variant ON variant.sku = given.sku
    WHERE product.id = variant.product_id
      AND (product.name, product.base_price, product.currency, product.description, product.attributes)
          IS DISTINCT FROM
          (given.name, given.base_price, given.currency, coalesce(given.description, product.description),
           product.attributes || given.attributes)
    RETURNING product.id
), fresh AS (
    SELECT * FROM given WHERE NOT EXISTS (SELECT FROM variants WHERE variants.sku = given.sku)
), new_products AS (
    INSERT INTO products (id, name, description, base_price, currency, attributes)
    SELECT product_id, name, coalesce(description, ''), base_price, currency, attributes FROM fresh
    RETURNING id
), new_variants AS (
    INSERT INTO variants (id, product_id, sku)
    SELECT variant_id, product_id, sku FROM fresh
    RETURNING id
)
SELECT (SELECT count(*) FROM new_variants) AS created, (SELECT count(*) FROM updated) AS updated;
