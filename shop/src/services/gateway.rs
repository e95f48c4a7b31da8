//! `gateway`: the only service visitors reach. Routes each request to the service that can answer it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Value;

use crate::call::{Call, Outbound};
use crate::failure::Failure;

const READ_LIMIT: Duration = Duration::from_secs(3);
const CHECKOUT_LIMIT: Duration = Duration::from_secs(8);

pub(crate) fn router(outbound: Outbound) -> Router {
    Router::new()
        .route("/products", get(products))
        .route("/cart/{customer}", get(cart))
        .route("/checkout", post(checkout))
        .with_state(Arc::new(outbound))
}

#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    page: u64,
}

async fn products(
    State(outbound): State<Arc<Outbound>>,
    Query(listing): Query<Listing>,
) -> Result<Json<Value>, Failure> {
    let path = format!("/products?page={}", listing.page);
    Ok(Json(outbound.send(Call::get("catalog", "/products", path, READ_LIMIT)).await?))
}

async fn cart(
    State(outbound): State<Arc<Outbound>>,
    Path(customer): Path<u64>,
) -> Result<Json<Value>, Failure> {
    let path = format!("/carts/{customer}");
    Ok(Json(outbound.send(Call::get("cart", "/carts/{customer}", path, READ_LIMIT)).await?))
}

async fn checkout(
    State(outbound): State<Arc<Outbound>>,
    Json(order): Json<Value>,
) -> Result<Json<Value>, Failure> {
    Ok(Json(outbound.send(Call::post("checkout", "/orders", &order, CHECKOUT_LIMIT)).await?))
}
