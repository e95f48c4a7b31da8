-- Which pattern each log message is of, given as it is stored, and how often each was written.

-- 0: written by another program.
ALTER TABLE otel_logs ADD COLUMN IF NOT EXISTS PatternId UInt64 CODEC(ZSTD(1));

-- A pattern is told once by each process, and again when another, more general one was learned to stand for it. The row
-- with what was learned wins.
CREATE TABLE IF NOT EXISTS log_patterns (
    Id UInt64,
    Severity UInt8,
    General UInt64,
    Template String CODEC(ZSTD(1)),
    Learned UInt8,
    Written DateTime DEFAULT now()
) ENGINE = ReplacingMergeTree(Learned)
ORDER BY Id;

CREATE TABLE IF NOT EXISTS log_pattern_minutes (
    Minute DateTime CODEC(Delta, ZSTD(1)),
    ServiceName LowCardinality(String),
    PatternId UInt64,
    Severity SimpleAggregateFunction(max, UInt8),
    Messages SimpleAggregateFunction(sum, UInt64)
) ENGINE = AggregatingMergeTree
PARTITION BY toDate(Minute)
ORDER BY (ServiceName, Minute, PatternId)
SETTINGS ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS log_pattern_minutes_mv TO log_pattern_minutes AS
SELECT
    toStartOfMinute(toDateTime(Timestamp)) AS Minute,
    ServiceName,
    PatternId,
    max(SeverityNumber) AS Severity,
    count() AS Messages
FROM otel_logs
WHERE PatternId != 0
GROUP BY Minute, ServiceName, PatternId;

-- The first and the last minute of a pattern in a service.
CREATE TABLE IF NOT EXISTS log_pattern_lives (
    ServiceName LowCardinality(String),
    PatternId UInt64,
    First SimpleAggregateFunction(min, DateTime),
    Last SimpleAggregateFunction(max, DateTime)
) ENGINE = AggregatingMergeTree
ORDER BY (ServiceName, PatternId);

CREATE MATERIALIZED VIEW IF NOT EXISTS log_pattern_lives_mv TO log_pattern_lives AS
SELECT ServiceName, PatternId, min(Minute) AS First, max(Minute) AS Last
FROM log_pattern_minutes
GROUP BY ServiceName, PatternId;
