-- name: list_known
-- Those of these orders that are there.
SELECT id FROM orders WHERE id = ANY ($1::text[]);

-- name: upsert_orders
-- Orders as they stand at the end of what is applied together; a newer version that is there already stays.
INSERT INTO orders (id, cart_id, customer_id, status, currency, subtotal, discount, total, coupon_id, coupon,
                    is_coupon_counted, payment_status, transaction_id, payment_until, stock, tracking_number,
                    refund_reason, version, record, created_at, updated_at)
SELECT id, cart_id, customer_id, status, currency, subtotal, discount, total, coupon_id, coupon, is_coupon_counted,
       payment_status, transaction_id, payment_until, stock, tracking_number, refund_reason, version, record, created_at,
       updated_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
            $9::text[], $10::text[], $11::boolean[], $12::text[], $13::text[], $14::timestamptz[], $15::text[],
            $16::text[], $17::text[], $18::integer[], $19::text[], $20::timestamptz[], $21::timestamptz[])
     WITH ORDINALITY
     AS told (id, cart_id, customer_id, status, currency, subtotal, discount, total, coupon_id, coupon,
              is_coupon_counted, payment_status, transaction_id, payment_until, stock, tracking_number, refund_reason,
              version, record, created_at, updated_at, nth)
ORDER BY nth
ON CONFLICT (id) DO UPDATE
SET status = excluded.status, is_coupon_counted = excluded.is_coupon_counted,
    payment_status = excluded.payment_status, transaction_id = excluded.transaction_id,
    payment_until = excluded.payment_until, stock = excluded.stock, tracking_number = excluded.tracking_number,
    refund_reason = excluded.refund_reason, version = excluded.version, record = excluded.record,
    updated_at = excluded.updated_at
WHERE orders.version < excluded.version;

-- name: insert_items
-- What was bought, written once with the order.
INSERT INTO order_items (order_id, position, sku, variant_id, product_id, name, quantity, unit_price, discount,
                         final_price, total_price, applied_rules)
SELECT order_id, position, sku, variant_id, product_id, name, quantity, unit_price, discount, final_price, total_price,
       applied_rules::jsonb
FROM unnest($1::text[], $2::smallint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::integer[], $8::bigint[],
            $9::bigint[], $10::bigint[], $11::bigint[], $12::text[])
     AS told (order_id, position, sku, variant_id, product_id, name, quantity, unit_price, discount, final_price,
              total_price, applied_rules)
ON CONFLICT (order_id, position) DO NOTHING;

-- name: find_order
-- One order.
SELECT record FROM orders WHERE id = $1;

-- name: page
-- Orders, newest first, below a position.
SELECT id, position, record FROM orders WHERE position < $1 ORDER BY position DESC LIMIT $2;

-- name: page_of_status
-- The same, of one status.
SELECT id, position, record FROM orders WHERE position < $1 AND status = $3 ORDER BY position DESC LIMIT $2;

-- name: page_of_customer
-- The same, of one customer, and of one status where that is told.
SELECT id, position, record FROM orders
WHERE position < $1 AND customer_id = $3 AND ($4::text IS NULL OR status = $4)
ORDER BY position DESC LIMIT $2;
