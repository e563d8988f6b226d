-- name: list_since
-- The coupons that changed after a version.
SELECT * FROM coupons WHERE version > $1;

-- name: insert_coupon
-- A new coupon.
INSERT INTO coupons
    (id, code, kind, value, min_order_value, usage_limit, per_customer_limit, applicable_products, starts_at, ends_at,
     version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
RETURNING *;

-- name: update_coupon
-- All of a coupon.
UPDATE coupons
SET code = $2, kind = $3, value = $4, min_order_value = $5, usage_limit = $6, per_customer_limit = $7,
    applicable_products = $8, starts_at = $9, ends_at = $10, version = $11, updated_at = now()
WHERE id = $1
RETURNING *;

-- name: delete_coupon
-- A coupon that nobody may use any more.
DELETE FROM coupons WHERE id = $1;
