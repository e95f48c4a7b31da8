-- What incidents looked like, to find those like another. One row per incident and model of embedding; the latest stands.
CREATE TABLE IF NOT EXISTS incident_memory (
    Model LowCardinality(String),
    Incident UInt32,
    Timestamp Int64,
    Features Array(String),
    Vector Array(Float32)
) ENGINE = ReplacingMergeTree(Timestamp) ORDER BY (Model, Incident);
