//! `checkout`: turns a cart into a paid order: cart, prices, tax, reservation, payment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

use super::{Cart, Price};
use crate::call::{Call, Outbound};
use crate::failure::Failure;
use crate::telemetry::{Telemetry, fail};

/// The flag that switches the tax engine.
pub(crate) const TAX_FLAG: &str = "new-tax-engine";

const READ_LIMIT: Duration = Duration::from_secs(2);
const RESERVE_LIMIT: Duration = Duration::from_secs(3);
const PAYMENT_LIMIT: Duration = Duration::from_secs(6);

/// Percent, of the old engine: one rate everywhere.
const FLAT_RATE: u64 = 20;
/// Percent by region, of the new engine. The highlands were forgotten.
const REGION_RATES: [(&str, u64); 2] = [("north", 20), ("south", 18)];

/// The new engine has no rate for a region.
#[derive(Debug, thiserror::Error)]
#[error("no tax rate for region `{region}`")]
struct TaxRateMissing {
    region: String,
}

impl From<TaxRateMissing> for Failure {
    fn from(error: TaxRateMissing) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "TaxRateMissing", message: error.to_string() }
    }
}

struct Checkout {
    outbound: Outbound,
    telemetry: Arc<Telemetry>,
    new_tax_engine: Arc<AtomicBool>,
    region_rates: BTreeMap<&'static str, u64>,
}

pub(crate) fn router(
    outbound: Outbound,
    telemetry: Arc<Telemetry>,
    new_tax_engine: Arc<AtomicBool>,
) -> Router {
    let region_rates = REGION_RATES.into_iter().collect();
    let checkout = Checkout { outbound, telemetry, new_tax_engine, region_rates };
    Router::new().route("/orders", post(order)).with_state(Arc::new(checkout))
}

#[derive(Deserialize)]
struct Order {
    customer: u64,
}

async fn order(
    State(checkout): State<Arc<Checkout>>,
    Json(order): Json<Order>,
) -> Result<Json<Value>, Failure> {
    let outbound = &checkout.outbound;
    let path = format!("/carts/{}", order.customer);
    let cart: Cart = outbound.send(Call::get("cart", "/carts/{customer}", path, READ_LIMIT)).await?;
    let ids: Vec<String> = cart.lines.iter().map(|line| line.product.to_string()).collect();
    let path = format!("/prices?ids={}", ids.join(","));
    let prices: Vec<Price> = outbound.send(Call::get("catalog", "/prices", path, READ_LIMIT)).await?;
    let net = total(&cart, &prices);
    let cents = net + checkout.tax(net, &cart.region)?;
    let lines = json!({ "lines": cart.lines });
    let _: Value = outbound.send(Call::post("inventory", "/reservations", &lines, RESERVE_LIMIT)).await?;
    let bill = json!({ "customer": order.customer, "cents": cents });
    let paid: Value = outbound.send(Call::post("payment", "/payments", &bill, PAYMENT_LIMIT)).await?;
    checkout.telemetry.log(
        Severity::Info,
        "order placed",
        vec![("order.cents", (cents as i64).into()), ("order.lines", (cart.lines.len() as i64).into())],
    );
    Ok(Json(json!({ "cents": cents, "authorization": paid["authorization"] })))
}

fn total(cart: &Cart, prices: &[Price]) -> u64 {
    let by_product: BTreeMap<u64, u64> = prices.iter().map(|price| (price.product, price.cents)).collect();
    cart.lines
        .iter()
        .map(|line| line.quantity * by_product.get(&line.product).copied().unwrap_or_default())
        .sum()
}

impl Checkout {
    /// Computes the tax, in a span that names the engine and the flag that chose it.
    fn tax(&self, net: u64, region: &str) -> Result<u64, TaxRateMissing> {
        let new_engine = self.new_tax_engine.load(Ordering::Relaxed);
        let attributes = vec![
            KeyValue::new("feature_flag.key", TAX_FLAG),
            KeyValue::new("feature_flag.result.variant", if new_engine { "on" } else { "off" }),
            KeyValue::new("tax.region", region.to_owned()),
        ];
        let context = self.telemetry.span("tax.compute", SpanKind::Internal, attributes, &Context::current());
        let rate = if new_engine { self.region_rate(region) } else { Ok(FLAT_RATE) };
        if let Err(error) = &rate {
            fail(&context, "TaxRateMissing", &error.to_string());
        }
        context.span().end();
        Ok(net * rate? / 100)
    }

    fn region_rate(&self, region: &str) -> Result<u64, TaxRateMissing> {
        self.region_rates.get(region).copied().ok_or_else(|| TaxRateMissing { region: region.to_owned() })
    }
}
