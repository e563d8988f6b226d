-- name: find_variants
-- Which product each of these SKUs is a variant of.
SELECT sku, id, product_id FROM variants WHERE sku = ANY ($1::text[]);

-- name: find_products
-- The products of these ids, and those that files call by these handles, with how many variants each has.
SELECT id, handle, base_price, currency,
       (SELECT count(*) FROM variants WHERE variants.product_id = products.id) AS variants
FROM products WHERE id = ANY ($1::text[]) OR handle = ANY ($2::text[]);

-- name: insert_products
-- New products.
INSERT INTO products (id, name, description, base_price, currency, category_id, handle, version)
SELECT id, name, coalesce(description, ''), base_price, currency, category_id, handle, $1
FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[])
     WITH ORDINALITY AS told (id, name, description, base_price, currency, category_id, handle, nth)
ORDER BY nth;

-- name: update_products
-- What a file says of products that are there, where it says something new; what it leaves out stays.
UPDATE products AS product
SET name = told.name, description = coalesce(told.description, product.description), base_price = told.base_price,
    currency = told.currency, category_id = coalesce(told.category_id, product.category_id), version = $1,
    updated_at = now()
FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[])
     AS told (id, name, description, base_price, currency, category_id)
WHERE product.id = told.id
  AND (product.name, product.description, product.base_price, product.currency, product.category_id)
      IS DISTINCT FROM
      (told.name, coalesce(told.description, product.description), told.base_price, told.currency,
       coalesce(told.category_id, product.category_id))
RETURNING product.id;

-- name: insert_variants
-- New variants.
INSERT INTO variants (id, product_id, sku, attributes, price_adjustment, version)
SELECT id, product_id, sku, attributes::jsonb, price_adjustment, $1
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
     WITH ORDINALITY AS told (id, product_id, sku, attributes, price_adjustment, nth)
ORDER BY nth;

-- name: update_variants
-- What a file says of variants that are there, where it says something new; attributes that it leaves out stay.
UPDATE variants AS variant
SET attributes = coalesce(told.attributes::jsonb, variant.attributes), price_adjustment = told.price_adjustment,
    version = $1, updated_at = now()
FROM unnest($2::text[], $3::text[], $4::bigint[]) AS told (id, attributes, price_adjustment)
WHERE variant.id = told.id
  AND (variant.attributes, variant.price_adjustment)
      IS DISTINCT FROM (coalesce(told.attributes::jsonb, variant.attributes), told.price_adjustment)
RETURNING variant.product_id;
