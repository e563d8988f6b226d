-- Stock, holds and how far the event log is applied.

CREATE TABLE installation (
    only_one    boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    id          text NOT NULL DEFAULT gen_random_uuid()::text,
    created_at  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO installation DEFAULT VALUES;
COMMENT ON TABLE installation IS 'Names this database, so that a Redis of another installation is not taken for its own';

CREATE TABLE flush_offsets (
    shard       integer PRIMARY KEY,
    epoch       bigint NOT NULL,
    seq         bigint NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE flush_offsets IS 'How far each shard''s event log is applied; its row lock is the fence between drainers';

CREATE TABLE stock_levels (
    sku             text COLLATE "C" PRIMARY KEY,
    available       bigint NOT NULL CHECK (available >= 0),
    reserved        bigint NOT NULL CHECK (reserved >= 0),
    sold            bigint NOT NULL CHECK (sold >= 0),
    received        bigint NOT NULL,
    customer_limit  integer,
    updated_at      timestamptz NOT NULL,
    CHECK (received = available + reserved + sold)
);

CREATE TABLE stock_ledger (
    sku              text COLLATE "C" NOT NULL,
    shard            integer NOT NULL,
    epoch            bigint NOT NULL,
    seq              bigint NOT NULL,
    event_id         text NOT NULL GENERATED ALWAYS AS
                     ('s' || shard::text || '-' || epoch::text || '-' || seq::text) STORED,
    kind             text NOT NULL CHECK (kind IN ('reserve', 'commit', 'release', 'expire', 'adjust')),
    delta_available  bigint NOT NULL,
    delta_reserved   bigint NOT NULL,
    delta_sold       bigint NOT NULL,
    reference        text,
    reason           text,
    at               timestamptz NOT NULL,
    PRIMARY KEY (sku, shard, epoch, seq)
);

CREATE TABLE holds (
    id           text COLLATE "C" PRIMARY KEY,
    status       text NOT NULL CHECK (status IN ('held', 'committed', 'released', 'expired')),
    customer_id  text,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    settled_at   timestamptz,
    reference    text,
    ttl_ms       bigint NOT NULL,
    fingerprint  text NOT NULL,
    CHECK ((status = 'held') = (settled_at IS NULL))
);
CREATE INDEX holds_held ON holds (expires_at) WHERE status = 'held';
CREATE INDEX holds_settled ON holds (settled_at) WHERE status <> 'held';

CREATE TABLE hold_lines (
    hold_id   text COLLATE "C" NOT NULL REFERENCES holds (id),
    position  smallint NOT NULL,
    sku       text COLLATE "C" NOT NULL,
    quantity  integer NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (hold_id, position)
);

CREATE TABLE operation_memories (
    shard   integer NOT NULL,
    token   text COLLATE "C" NOT NULL,
    memory  text NOT NULL,
    at      timestamptz NOT NULL,
    PRIMARY KEY (shard, token)
);
CREATE INDEX operation_memories_at ON operation_memories (at);
COMMENT ON TABLE operation_memories IS 'Answers of keyed operations, so that a rebuilt Redis still answers a retry the same';

CREATE TABLE flush_quarantine (
    shard        integer NOT NULL,
    epoch        bigint NOT NULL,
    seq          bigint NOT NULL,
    happened_at  timestamptz NOT NULL,
    kind         text NOT NULL,
    payload      text NOT NULL,
    reason       text NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    replayed_at  timestamptz,
    PRIMARY KEY (shard, epoch, seq)
);
COMMENT ON TABLE flush_quarantine IS 'Events that could not be applied, set aside with their reason until an operator replays them';

CREATE TABLE api_keys (
    id           text PRIMARY KEY,
    name         text NOT NULL,
    scope        text NOT NULL CHECK (scope IN ('storefront', 'operator')),
    secret_hash  bytea NOT NULL UNIQUE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    revoked_at   timestamptz
);
