//! `payment`: asks the acquirer, which is outside the shop, to authorise a payment.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use opentelemetry::logs::Severity;
use serde_json::{Value, json};

use crate::call::{Call, Outbound};
use crate::failure::Failure;
use crate::telemetry::Telemetry;

/// The acquirer's name in the directory and in the telemetry.
pub(crate) const ACQUIRER: &str = "acquirer.example";
const ACQUIRER_LIMIT: Duration = Duration::from_secs(5);

struct Payment {
    outbound: Outbound,
    telemetry: Arc<Telemetry>,
}

pub(crate) fn router(outbound: Outbound, telemetry: Arc<Telemetry>) -> Router {
    Router::new().route("/payments", post(pay)).with_state(Arc::new(Payment { outbound, telemetry }))
}

async fn pay(State(payment): State<Arc<Payment>>, Json(order): Json<Value>) -> Result<Json<Value>, Failure> {
    let mut call = Call::post(ACQUIRER, "/authorizations", &order, ACQUIRER_LIMIT);
    call.peer = Some("acquirer");
    let answer: Value = payment.outbound.send(call).await?;
    payment.telemetry.log(
        Severity::Info,
        "payment authorised",
        vec![("payment.cents", order["cents"].as_i64().unwrap_or_default().into())],
    );
    Ok(Json(json!({ "paid": true, "authorization": answer["authorization"] })))
}
