-- What the last audit of each shard found, so that a metric can say whether every unit is accounted for.

CREATE TABLE audits (
    shard             integer PRIMARY KEY,
    epoch             bigint NOT NULL,
    seq               bigint NOT NULL,
    skus              bigint NOT NULL,
    differences       bigint NOT NULL,
    quarantined       bigint NOT NULL,
    orphans_unproven  bigint NOT NULL,
    at                timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE audits IS
    'One row a shard: what its last audit that came to its end found, and at which event; one that did not leaves the row';
COMMENT ON COLUMN audits.differences IS 'Those that it listed: of each kind it lists the first thousand';
COMMENT ON COLUMN audits.orphans_unproven IS 'Holds that Redis lost and nothing proves to be over';
COMMENT ON COLUMN audits.at IS 'When it was done';
