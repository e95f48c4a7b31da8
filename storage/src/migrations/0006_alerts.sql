-- Every alert, whether it reached people or was held back. Suppressed is not deleted.

CREATE TABLE IF NOT EXISTS alerts (
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    Fingerprint FixedString(16),
    Source LowCardinality(String),
    Rule LowCardinality(String),
    ServiceName LowCardinality(String),
    Severity LowCardinality(String),
    Host LowCardinality(String),
    Version LowCardinality(String),
    Pattern String CODEC(ZSTD(1)),
    Body String CODEC(ZSTD(1)),
    Labels Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Numbers Map(String, String) CODEC(ZSTD(1)),
    ForeignId String CODEC(ZSTD(1)),
    Resolved Bool,
    Objective Bool,
    Suppressed Bool,
    Incident UInt32
) ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (Fingerprint, Timestamp)
SETTINGS ttl_only_drop_parts = 1;

-- One row per alert and hour: what scores and limits are made of.
CREATE TABLE IF NOT EXISTS alert_hours (
    Hour DateTime CODEC(DoubleDelta, ZSTD(1)),
    Fingerprint FixedString(16),
    Host LowCardinality(String),
    Version LowCardinality(String),
    Alerts SimpleAggregateFunction(sum, UInt64),
    Suppressed SimpleAggregateFunction(sum, UInt64),
    InIncident SimpleAggregateFunction(sum, UInt64)
) ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(Hour)
ORDER BY (Fingerprint, Hour, Host, Version)
SETTINGS ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS alert_hours_of_alerts TO alert_hours AS
SELECT
    toStartOfHour(toDateTime(Timestamp)) AS Hour, Fingerprint, Host, Version,
    count() AS Alerts, countIf(Suppressed) AS Suppressed, countIf(Incident > 0) AS InIncident
FROM alerts WHERE NOT Resolved
GROUP BY Hour, Fingerprint, Host, Version;
