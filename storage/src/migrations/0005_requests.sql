-- Requests as objectives look at them, in order of time: a look at the last minutes of every service reads a few rows of
-- each endpoint, whatever else there is. Fed by span_minutes, which has done the counting already.

-- Timed is 0 for what consumers of queues take in: it counts for availability, but its duration is nobody's wait.
CREATE TABLE IF NOT EXISTS request_minutes (
    Minute DateTime CODEC(Delta, ZSTD(1)),
    ServiceName LowCardinality(String),
    Endpoint LowCardinality(String),
    Timed UInt8,
    Bucket Int16,
    Requests UInt64,
    Errors UInt64
) ENGINE = SummingMergeTree((Requests, Errors))
PARTITION BY toDate(Minute)
ORDER BY (Minute, ServiceName, Endpoint, Timed, Bucket)
SETTINGS ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS request_minutes_mv TO request_minutes AS
SELECT
    Minute,
    ServiceName,
    SpanName AS Endpoint,
    SpanKind = 'Server' AS Timed,
    Bucket,
    sum(span_minutes.Requests) AS Requests,
    sum(span_minutes.Errors) AS Errors
FROM span_minutes
WHERE SpanKind IN ('Server', 'Consumer')
GROUP BY Minute, ServiceName, Endpoint, Timed, Bucket;

-- The same by the hour: windows of days, and what an endpoint is used to.
CREATE TABLE IF NOT EXISTS request_hours (
    Hour DateTime CODEC(Delta, ZSTD(1)),
    ServiceName LowCardinality(String),
    Endpoint LowCardinality(String),
    Timed UInt8,
    Bucket Int16,
    Requests UInt64,
    Errors UInt64
) ENGINE = SummingMergeTree((Requests, Errors))
PARTITION BY toMonday(Hour)
ORDER BY (Hour, ServiceName, Endpoint, Timed, Bucket)
SETTINGS ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS request_hours_mv TO request_hours AS
SELECT
    toStartOfHour(Minute) AS Hour,
    ServiceName,
    SpanName AS Endpoint,
    SpanKind = 'Server' AS Timed,
    Bucket,
    sum(span_minutes.Requests) AS Requests,
    sum(span_minutes.Errors) AS Errors
FROM span_minutes
WHERE SpanKind IN ('Server', 'Consumer')
GROUP BY Hour, ServiceName, Endpoint, Timed, Bucket;

-- Endpoints that wait by design and say so: requests that became a socket or a stream of events, or that receive from a
-- queue. Older conventions have the last as server spans.
CREATE TABLE IF NOT EXISTS wait_endpoints (
    ServiceName LowCardinality(String),
    Endpoint LowCardinality(String),
    Seen SimpleAggregateFunction(min, DateTime64(9))
) ENGINE = AggregatingMergeTree
ORDER BY (ServiceName, Endpoint);

CREATE MATERIALIZED VIEW IF NOT EXISTS wait_endpoints_mv TO wait_endpoints AS
SELECT ServiceName, SpanName AS Endpoint, min(Timestamp) AS Seen
FROM otel_traces
WHERE SpanKind = 'Server' AND (
    SpanAttributes['http.response.status_code'] = '101'
    OR SpanAttributes['http.status_code'] = '101'
    OR SpanAttributes['messaging.system'] != ''
    OR position(SpanAttributes['http.response.header.content-type'], 'text/event-stream') > 0)
GROUP BY ServiceName, Endpoint;
