-- name: list_since
-- The products that changed after a version.
SELECT id, position, name, description, base_price, currency, category_id, status, brand, tags, attributes, version,
       created_at, updated_at
FROM products WHERE version > $1;

-- name: insert_product
-- A new product.
INSERT INTO products (id, name, description, base_price, currency, category_id, status, brand, tags, attributes, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
RETURNING id, position, name, description, base_price, currency, category_id, status, brand, tags, attributes, version,
          created_at, updated_at;

-- name: update_product
-- All of a product that may change.
UPDATE products
SET name = $2, description = $3, base_price = $4, currency = $5, category_id = $6, status = $7, brand = $8, tags = $9,
    attributes = $10, version = $11, updated_at = now()
WHERE id = $1
RETURNING id, position, name, description, base_price, currency, category_id, status, brand, tags, attributes, version,
          created_at, updated_at;

-- name: delete_product
-- A product without variants.
DELETE FROM products WHERE id = $1;
