-- What must survive a power cut: written to the disk before an insert returns.

CREATE TABLE IF NOT EXISTS journal (
    Sequence UInt64,
    Timestamp DateTime64(9),
    Stream LowCardinality(String),
    Key String,
    Body String CODEC(ZSTD(1))
) ENGINE = MergeTree
ORDER BY (Stream, Sequence)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS reports (
    Incident UInt32,
    Run UInt32,
    Timestamp DateTime64(9),
    Body String CODEC(ZSTD(3))
) ENGINE = ReplacingMergeTree(Timestamp)
ORDER BY (Incident, Run)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
