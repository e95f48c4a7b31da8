//! `catalog`: products and prices, from a database of its own behind two connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use opentelemetry::logs::Severity;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{PAGE, PRODUCTS, Price};
use crate::database::{self, Database, DatabaseError, DatabaseOptions, Session, Statement};
use crate::failure::Failure;
use crate::telemetry::Telemetry;

const DATABASE: &str = "catalog.db";
const CONNECTIONS: u32 = 2;
const BUSY_LIMIT: Duration = Duration::from_secs(1);

const COUNT: Statement =
    Statement { summary: "SELECT products", text: "SELECT count(*) FROM products WHERE listed = 1" };
const LISTING: Statement = Statement {
    summary: "SELECT products",
    text: "SELECT id, name FROM products WHERE listed = 1 ORDER BY id LIMIT ?1 OFFSET ?2",
};
const PRICES: Statement = Statement {
    summary: "SELECT prices",
    text: "SELECT product_id, cents FROM prices WHERE product_id IN (SELECT value FROM json_each(?1))",
};
const PRICE: Statement = Statement {
    summary: "SELECT prices",
    text: "SELECT product_id, cents FROM prices WHERE product_id = ?1",
};

/// How prices are read. What changed in 1.4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PriceLookup {
    /// One query for all products.
    Batch,
    /// One query for each product.
    PerProduct,
}

impl PriceLookup {
    fn prices(self, session: &Session<'_>, products: &[u64]) -> Result<Vec<Price>, DatabaseError> {
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Price { product: row.get::<_, i64>(0)? as u64, cents: row.get::<_, i64>(1)? as u64 })
        };
        match self {
            Self::Batch => session.rows(&PRICES, [json!(products).to_string()], read),
            Self::PerProduct => {
                let mut prices = Vec::with_capacity(products.len());
                for product in products {
                    prices.extend(session.rows(&PRICE, [*product as i64], read)?);
                }
                Ok(prices)
            }
        }
    }
}

struct Catalog {
    database: Arc<Database>,
    lookup: PriceLookup,
    telemetry: Arc<Telemetry>,
}

/// Writes the products and their prices.
pub(crate) fn create(directory: &Path) -> anyhow::Result<()> {
    database::create(directory, DATABASE, |connection| {
        connection.execute_batch(
            "DROP TABLE IF EXISTS products;
             DROP TABLE IF EXISTS prices;
             CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, listed INTEGER NOT NULL);
             CREATE TABLE prices (product_id INTEGER PRIMARY KEY, cents INTEGER NOT NULL);",
        )?;
        for id in 1..=PRODUCTS as i64 {
            connection.execute("INSERT INTO products VALUES (?1, ?2, 1)", (id, format!("Product {id}")))?;
            connection.execute("INSERT INTO prices VALUES (?1, ?2)", (id, 99 + id * 37 % 1_900))?;
        }
        Ok(())
    })
}

/// The routes of one instance, with a pool of its own.
pub(crate) fn router(
    telemetry: Arc<Telemetry>,
    directory: PathBuf,
    lookup: PriceLookup,
) -> anyhow::Result<Router> {
    let options =
        DatabaseOptions { name: DATABASE, directory, connections: CONNECTIONS, busy_limit: BUSY_LIMIT };
    let database = Database::open(options, Arc::clone(&telemetry))?;
    let catalog = Arc::new(Catalog { database, lookup, telemetry });
    Ok(Router::new().route("/products", get(products)).route("/prices", get(prices)).with_state(catalog))
}

#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    page: u64,
}

async fn products(
    State(catalog): State<Arc<Catalog>>,
    Query(listing): Query<Listing>,
) -> Result<Json<Value>, Failure> {
    let lookup = catalog.lookup;
    let offset = listing.page % PRODUCTS.div_ceil(PAGE) * PAGE;
    let work = move |session: &Session<'_>| {
        let total = session.rows(&COUNT, [], |row| row.get::<_, i64>(0))?;
        let products = session
            .rows(&LISTING, [PAGE as i64, offset as i64], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))?;
        let ids: Vec<u64> = products.iter().map(|(id, _): &(i64, String)| *id as u64).collect();
        Ok((total.first().copied(), products, lookup.prices(session, &ids)?))
    };
    let (total, products, prices) = catalog.database.with(work).await?;
    catalog.telemetry.log(
        Severity::Info,
        format!("listed {} products", products.len()),
        vec![("catalog.page", (listing.page as i64).into())],
    );
    let names: Vec<&String> = products.iter().map(|(_, name)| name).collect();
    Ok(Json(json!({ "total": total, "names": names, "prices": prices })))
}

#[derive(Deserialize)]
struct Wanted {
    ids: String,
}

async fn prices(
    State(catalog): State<Arc<Catalog>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<Price>>, Failure> {
    let lookup = catalog.lookup;
    let ids: Vec<u64> =
        wanted.ids.split(',').filter_map(|id| id.parse().ok()).take(PRODUCTS as usize).collect();
    Ok(Json(catalog.database.with(move |session| lookup.prices(session, &ids)).await?))
}
