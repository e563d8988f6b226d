-- Since when the records of each part of the log may have changed, so that a Redis that lacks only a tail gets only that.

CREATE TABLE flush_steps (
    shard      integer NOT NULL,
    epoch      bigint NOT NULL,
    after_seq  bigint NOT NULL,
    seq        bigint NOT NULL CHECK (seq > after_seq),
    since      timestamptz NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard, epoch, seq)
);
COMMENT ON TABLE flush_steps IS 'One row a transaction of the flush, kept for an hour: which events it applied';
COMMENT ON COLUMN flush_steps.since IS
    'The earliest time that any record of these events carries, by Redis'' clock, which may step back';
