//! What stays out of latency: endpoints that say that they wait, and ones that are learned to.

use std::time::Duration;

use domain::{UnixNanos, Window};
use storage::Store;
use storage::questions::requests::Wait;

/// How far back endpoints are learned from.
const LEARNED_FROM: Duration = Duration::from_secs(72 * 3600);

/// The waits known at `now`: what came later does not count, so that the past can be replayed.
pub async fn known(store: &Store, now: UnixNanos) -> Result<Vec<Wait>, storage::Error> {
    let hour = now.floor(Duration::from_secs(3600));
    let (declared, slow) = tokio::try_join!(
        store.declared_waits(now),
        store.slow_histograms(Window::new(hour.minus(LEARNED_FROM), hour)),
    )?;
    let declared =
        declared.into_iter().map(|(service, endpoint)| Wait { service, endpoint, from_bucket: i16::MIN });
    let learned = slow.into_iter().filter_map(|((service, endpoint), hours)| {
        let from_bucket = detectors::waits::learn(hours.iter().map(Vec::as_slice))?;
        Some(Wait { service, endpoint, from_bucket })
    });
    Ok(declared.chain(learned).collect())
}
