//! The schema, as numbered steps that every store takes once and in order.
//!
//! ClickHouse has no transactions around them, so each statement must bear being run again after a step broke off.

use clickhouse::Client;

use crate::error::Error;

/// Steps, oldest first. One that was released is never edited: a correction is a new step.
const STEPS: [(u32, &str, &str); 7] = [
    (1, "telemetry", include_str!("migrations/0001_telemetry.sql")),
    (2, "journal", include_str!("migrations/0002_journal.sql")),
    (3, "aggregates", include_str!("migrations/0003_aggregates.sql")),
    (4, "log patterns", include_str!("migrations/0004_log_patterns.sql")),
    (5, "requests", include_str!("migrations/0005_requests.sql")),
    (6, "alerts", include_str!("migrations/0006_alerts.sql")),
    (7, "incident memory", include_str!("migrations/0007_incident_memory.sql")),
];

/// Creates the database and takes the steps that it lacks.
pub(crate) async fn run(client: &Client, database: &str) -> Result<(), Error> {
    let create = format!("CREATE DATABASE IF NOT EXISTS {database}");
    client.clone().with_database("").query_raw(&create).execute().await?;
    client
        .query_raw(
            "CREATE TABLE IF NOT EXISTS schema_migrations (
                 Version UInt32, Name String, Applied DateTime DEFAULT now()
             ) ENGINE = ReplacingMergeTree ORDER BY Version",
        )
        .execute()
        .await?;
    let found: u32 = client.query_raw("SELECT max(Version) FROM schema_migrations").fetch_one().await?;
    let known = STEPS.last().map_or(0, |(version, _, _)| *version);
    if found > known {
        return Err(Error::SchemaTooNew { found, known });
    }
    for (version, name, sql) in STEPS.iter().filter(|(version, _, _)| *version > found) {
        for statement in statements(sql) {
            client.query_raw(statement).execute().await?;
        }
        client
            .query("INSERT INTO schema_migrations (Version, Name) VALUES (?, ?)")
            .bind(version)
            .bind(name)
            .execute()
            .await?;
        tracing::debug!(version, name, "schema step taken");
    }
    Ok(())
}

/// The statements of a step; each ends with a semicolon at the end of a line.
fn statements(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(";\n").map(str::trim).filter(|statement| !statement.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_and_bear_repetition() {
        assert!(STEPS.is_sorted_by(|(a, _, _), (b, _, _)| a < b));
        for (_, name, sql) in STEPS {
            for statement in statements(sql) {
                assert!(statement.contains("IF NOT EXISTS"), "{name}: {statement}");
            }
        }
    }
}
