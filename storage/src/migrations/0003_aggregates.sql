-- What detectors ask of spans all the time, kept ready as the spans arrive.

-- Requests per minute in buckets of duration, a quarter of a power of two wide: Bucket = floor(4 log2(microseconds)).
CREATE TABLE IF NOT EXISTS span_minutes (
    Minute DateTime CODEC(Delta, ZSTD(1)),
    ServiceName LowCardinality(String),
    SpanName LowCardinality(String),
    SpanKind LowCardinality(String),
    Peer LowCardinality(String),
    Bucket Int16,
    Requests UInt64,
    Errors UInt64,
    DurationNs UInt64
) ENGINE = SummingMergeTree((Requests, Errors, DurationNs))
PARTITION BY toDate(Minute)
ORDER BY (ServiceName, Minute, SpanName, SpanKind, Peer, Bucket)
SETTINGS ttl_only_drop_parts = 1;

-- Peer is whom a call goes to, in the words of the caller: service, database, queue or address.
CREATE MATERIALIZED VIEW IF NOT EXISTS span_minutes_mv TO span_minutes AS
SELECT
    toStartOfMinute(toDateTime(Timestamp)) AS Minute,
    ServiceName,
    SpanName,
    SpanKind,
    if(SpanKind IN ('Client', 'Producer', 'Consumer'), substringUTF8(multiIf(
        SpanAttributes['peer.service'] != '', SpanAttributes['peer.service'],
        SpanAttributes['db.system.name'] != '',
            trimRight(concat(SpanAttributes['db.system.name'], ':',
                if(SpanAttributes['db.namespace'] != '', SpanAttributes['db.namespace'], SpanAttributes['db.name'])), ':'),
        SpanAttributes['db.system'] != '',
            trimRight(concat(SpanAttributes['db.system'], ':',
                if(SpanAttributes['db.namespace'] != '', SpanAttributes['db.namespace'], SpanAttributes['db.name'])), ':'),
        SpanAttributes['messaging.destination.name'] != '', SpanAttributes['messaging.destination.name'],
        SpanAttributes['server.address'] != '', SpanAttributes['server.address'],
        SpanAttributes['net.peer.name'] != '', SpanAttributes['net.peer.name'],
        SpanAttributes['rpc.service']
    ), 1, 128), '') AS Peer,
    toInt16(floor(4 * log2(greatest(Duration / 1000, 1)))) AS Bucket,
    count() AS Requests,
    countIf(StatusCode = 'Error') AS Errors,
    sum(Duration) AS DurationNs
FROM otel_traces
GROUP BY Minute, ServiceName, SpanName, SpanKind, Peer, Bucket;

-- One row per end of a call. Both ends have the same CallKey: the service graph is their pairing.
CREATE TABLE IF NOT EXISTS call_ends (
    Minute DateTime CODEC(Delta, ZSTD(1)),
    CallKey UInt64,
    Caller LowCardinality(String),
    Callee LowCardinality(String),
    DurationNs UInt64 CODEC(ZSTD(1)),
    Failed UInt8
) ENGINE = MergeTree
PARTITION BY toDate(Minute)
ORDER BY (Minute, CallKey)
SETTINGS ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS call_ends_mv TO call_ends AS
SELECT
    toStartOfMinute(toDateTime(Timestamp)) AS Minute,
    cityHash64(TraceId, if(SpanKind IN ('Client', 'Producer'), SpanId, ParentSpanId)) AS CallKey,
    if(SpanKind IN ('Client', 'Producer'), ServiceName, '') AS Caller,
    if(SpanKind IN ('Client', 'Producer'), '', ServiceName) AS Callee,
    Duration AS DurationNs,
    StatusCode = 'Error' AS Failed
FROM otel_traces
WHERE SpanKind IN ('Client', 'Producer') OR (SpanKind IN ('Server', 'Consumer') AND ParentSpanId != '');

-- When a version of a service was first seen: deploys that nobody told of.
CREATE TABLE IF NOT EXISTS first_seen (
    ServiceName LowCardinality(String),
    Version String,
    Seen SimpleAggregateFunction(min, DateTime64(9))
) ENGINE = AggregatingMergeTree
ORDER BY (ServiceName, Version);

CREATE MATERIALIZED VIEW IF NOT EXISTS first_seen_traces_mv TO first_seen AS
SELECT
    ServiceName,
    substringUTF8(multiIf(
        ResourceAttributes['service.version'] != '', ResourceAttributes['service.version'],
        ResourceAttributes['container.image.tag'] != '', ResourceAttributes['container.image.tag'],
        ResourceAttributes['container.image.tags'] != '', ResourceAttributes['container.image.tags'],
        ResourceAttributes['k8s.container.image.tag']
    ), 1, 128) AS Version,
    min(Timestamp) AS Seen
FROM otel_traces
GROUP BY ServiceName, Version
HAVING Version != '';

CREATE MATERIALIZED VIEW IF NOT EXISTS first_seen_logs_mv TO first_seen AS
SELECT
    ServiceName,
    substringUTF8(multiIf(
        ResourceAttributes['service.version'] != '', ResourceAttributes['service.version'],
        ResourceAttributes['container.image.tag'] != '', ResourceAttributes['container.image.tag'],
        ResourceAttributes['container.image.tags'] != '', ResourceAttributes['container.image.tags'],
        ResourceAttributes['k8s.container.image.tag']
    ), 1, 128) AS Version,
    min(Timestamp) AS Seen
FROM otel_logs
GROUP BY ServiceName, Version
HAVING Version != '';
