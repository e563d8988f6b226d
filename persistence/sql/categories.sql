-- name: list_since
-- The categories that changed after a version.
SELECT id, position, name, slug, parent_id, version, created_at, updated_at FROM categories WHERE version > $1;

-- name: insert_category
-- A new category.
INSERT INTO categories (id, name, slug, parent_id, version) VALUES ($1, $2, $3, $4, $5)
RETURNING id, position, name, slug, parent_id, version, created_at, updated_at;

-- name: update_category
-- All of a category that may change.
UPDATE categories SET name = $2, slug = $3, parent_id = $4, version = $5, updated_at = now() WHERE id = $1
RETURNING id, position, name, slug, parent_id, version, created_at, updated_at;

-- name: delete_category
-- A category that nothing is in.
DELETE FROM categories WHERE id = $1;
