//! `cart`: what each customer is about to buy.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;

use super::{CUSTOMERS, Cart, Line, PRODUCTS};
use crate::failure::Failure;
use crate::random::Random;

/// Every customer's cart. Outlives an instance, as a store beside it would.
pub(crate) type Carts = Arc<Vec<Cart>>;

/// Fills the carts. Three customers in ten live in the highlands.
pub(crate) fn fill(mut random: Random) -> Carts {
    let cart = |customer| {
        let region = if customer % 10 < 3 { "highlands" } else { ["north", "south"][customer as usize % 2] };
        let first = random.between(1, PRODUCTS + 1);
        let lines = (0..random.between(24, 37))
            .map(|step| Line { product: (first + step * 7) % PRODUCTS + 1, quantity: random.between(1, 4) })
            .collect();
        Cart { customer, region: region.to_owned(), lines }
    };
    Arc::new((0..CUSTOMERS).map(cart).collect())
}

pub(crate) fn router(carts: Carts) -> Router {
    Router::new().route("/carts/{customer}", get(cart)).with_state(carts)
}

async fn cart(State(carts): State<Carts>, Path(customer): Path<usize>) -> Result<Json<Cart>, Failure> {
    carts.get(customer).cloned().map(Json).ok_or_else(|| Failure {
        status: StatusCode::NOT_FOUND,
        kind: "UnknownCustomer",
        message: format!("customer {customer} has no cart"),
    })
}
