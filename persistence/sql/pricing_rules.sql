-- name: list_since
-- The rules that changed after a version.
SELECT * FROM pricing_rules WHERE version > $1;

-- name: insert_rule
-- A new rule.
INSERT INTO pricing_rules
    (id, name, kind, priority, active, stacking, min_quantity, user_tier, promo_code, product_id, variant_id,
     category_id, starts_at, ends_at, percent, amount, price, buy_quantity, get_quantity, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
RETURNING *;

-- name: update_rule
-- All of a rule.
UPDATE pricing_rules
SET name = $2, kind = $3, priority = $4, active = $5, stacking = $6, min_quantity = $7, user_tier = $8,
    promo_code = $9, product_id = $10, variant_id = $11, category_id = $12, starts_at = $13, ends_at = $14,
    percent = $15, amount = $16, price = $17, buy_quantity = $18, get_quantity = $19, version = $20,
    updated_at = now()
WHERE id = $1
RETURNING *;

-- name: delete_rule
-- A rule that applies no more.
DELETE FROM pricing_rules WHERE id = $1;
