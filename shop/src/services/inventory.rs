//! `inventory`: what is in stock, reservations, and the import that brings stock levels from the warehouse.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use opentelemetry::logs::Severity;
use opentelemetry::trace::{SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Line, PRODUCTS};
use crate::database::{self, Database, DatabaseError, DatabaseOptions, Session, Statement};
use crate::failure::Failure;
use crate::telemetry::{Telemetry, fail};

const DATABASE: &str = "inventory.db";
const CONNECTIONS: u32 = 16;
/// How long a reservation waits for another writer.
const BUSY_LIMIT: Duration = Duration::from_millis(1_200);

/// Parts of the warehouse's file, and how long each takes to read: together what a pass holds the lock for.
const IMPORT_PARTS: u64 = 12;
const IMPORT_PART_TIME: Duration = Duration::from_millis(150);
const IMPORT_PAUSE: Duration = Duration::from_millis(400);

const AVAILABLE: Statement = Statement {
    summary: "SELECT stock",
    text: "SELECT product_id FROM stock WHERE on_hand <= reserved \
           AND product_id IN (SELECT value FROM json_each(?1))",
};
const RESERVE: Statement = Statement {
    summary: "UPDATE stock",
    text: "UPDATE stock SET reserved = reserved + 1 WHERE product_id IN (SELECT value FROM json_each(?1))",
};
const BEGIN: Statement = Statement { summary: "BEGIN", text: "BEGIN IMMEDIATE" };
const IMPORT: Statement = Statement {
    summary: "UPDATE stock",
    text: "UPDATE stock SET on_hand = on_hand + 1 WHERE product_id % ?1 = ?2",
};
const COMMIT: Statement = Statement { summary: "COMMIT", text: "COMMIT" };

/// One instance.
pub(crate) struct Inventory {
    database: Arc<Database>,
    telemetry: Arc<Telemetry>,
}

/// Writes the stock.
pub(crate) fn create(directory: &Path) -> anyhow::Result<()> {
    database::create(directory, DATABASE, |connection| {
        connection.execute_batch(
            "DROP TABLE IF EXISTS stock;
             CREATE TABLE stock (
                 product_id INTEGER PRIMARY KEY, on_hand INTEGER NOT NULL, reserved INTEGER NOT NULL);",
        )?;
        for id in 1..=PRODUCTS as i64 {
            // Never runs out, however long the shop is open.
            connection.execute("INSERT INTO stock VALUES (?1, 1000000000000, 0)", [id])?;
        }
        Ok(())
    })
}

impl Inventory {
    pub fn open(telemetry: Arc<Telemetry>, directory: PathBuf) -> anyhow::Result<Arc<Self>> {
        let options =
            DatabaseOptions { name: DATABASE, directory, connections: CONNECTIONS, busy_limit: BUSY_LIMIT };
        let database = Database::open(options, Arc::clone(&telemetry))?;
        Ok(Arc::new(Self { database, telemetry }))
    }

    pub fn router(self: &Arc<Self>) -> Router {
        Router::new().route("/reservations", post(reserve)).with_state(Arc::clone(self))
    }

    /// Imports stock over and over until cancelled. Blocks: run it on a thread of its own.
    pub fn import_until(&self, cancel: &CancellationToken) {
        while !cancel.is_cancelled() {
            self.import(cancel);
            pause(IMPORT_PAUSE, cancel);
        }
    }

    /// One pass, in one transaction: the lock is taken first and kept while the slow file is read.
    fn import(&self, cancel: &CancellationToken) {
        let rows = KeyValue::new("import.rows", PRODUCTS as i64);
        let context = self.telemetry.span("stock.import", SpanKind::Internal, vec![rows], &Context::new());
        let _current = context.clone().attach();
        self.telemetry.log(
            Severity::Info,
            "stock import started",
            vec![("import.rows", (PRODUCTS as i64).into()), ("import.mode", "single transaction".into())],
        );
        let started = Instant::now();
        let outcome = self.database.beside_pool(context.clone(), |session| transfer(session, cancel));
        let elapsed_ms = started.elapsed().as_millis() as i64;
        match outcome {
            Ok(rows) => self.telemetry.log(
                Severity::Info,
                "stock import finished",
                vec![("import.rows", (rows as i64).into()), ("import.duration_ms", elapsed_ms.into())],
            ),
            Err(error) => {
                let message = error.to_string();
                fail(&context, "ImportFailed", &message);
                self.telemetry.log(
                    Severity::Error,
                    format!("stock import failed: {message}"),
                    vec![("import.duration_ms", elapsed_ms.into())],
                );
            }
        }
        context.span().end();
    }
}

fn transfer(session: &Session<'_>, cancel: &CancellationToken) -> Result<usize, DatabaseError> {
    session.change(&BEGIN, [])?;
    let mut rows = 0;
    for part in 0..IMPORT_PARTS {
        pause(IMPORT_PART_TIME, cancel);
        rows += session.change(&IMPORT, [IMPORT_PARTS as i64, part as i64])?;
    }
    session.change(&COMMIT, [])?;
    Ok(rows)
}

/// Sleeps, but not past a cancellation.
fn pause(time: Duration, cancel: &CancellationToken) {
    let deadline = Instant::now() + time;
    while !cancel.is_cancelled() && Instant::now() < deadline {
        database::wait(Duration::from_millis(10));
    }
}

#[derive(Deserialize)]
struct Reservation {
    lines: Vec<Line>,
}

async fn reserve(
    State(inventory): State<Arc<Inventory>>,
    Json(reservation): Json<Reservation>,
) -> Result<Json<Value>, Failure> {
    let ids: Vec<u64> = reservation.lines.iter().map(|line| line.product).collect();
    let count = ids.len();
    let work = move |session: &Session<'_>| {
        let ids = json!(ids).to_string();
        let missing = session.rows(&AVAILABLE, [&ids], |row| row.get::<_, i64>(0))?;
        if missing.is_empty() {
            session.change(&RESERVE, [&ids])?;
        }
        Ok(missing)
    };
    let missing = inventory.database.with(work).await?;
    if let Some(product) = missing.first() {
        return Err(Failure {
            status: StatusCode::CONFLICT,
            kind: "OutOfStock",
            message: format!("product {product} is out of stock"),
        });
    }
    inventory.telemetry.log(Severity::Info, format!("reserved {count} products"), vec![]);
    Ok(Json(json!({ "reserved": count })))
}
