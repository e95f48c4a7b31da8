//! Inspections and anomalies of stored metrics: what a round of detection asks of every series.

use std::time::Duration;

use anyhow::Context as _;
use detectors::inspections::{self, Finding, Limits, Observed};
use domain::{UnixNanos, Window};
use storage::Store;
use storage::questions::metric_values::SeriesValues;

/// What inspections look at: long enough to tell a leak, short enough to be the present.
pub const LOOK_BACK: Duration = Duration::from_secs(3600);

/// Inspects the last hour of every metric that an inspection reads.
pub async fn inspect(store: &Store, now: UnixNanos, limits: &Limits) -> anyhow::Result<Vec<Finding>> {
    let window = Window::new(now.minus(LOOK_BACK), now);
    let names = store.metric_names().await.context("cannot ask which metrics there are")?;
    let read: Vec<String> = names.into_iter().filter(|name| inspections::reads(name)).collect();
    let series = store.metric_values(&read, window).await.context("cannot ask for metric values")?;
    let observed: Vec<Observed> = series.into_iter().map(observed).collect();
    Ok(inspections::inspect(&observed, window, limits))
}

fn observed(series: SeriesValues) -> Observed {
    let SeriesValues { id, name, labels, kind, unit, points } = series;
    Observed { id, name, labels, kind, unit, points }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::{Batch, MetricKind, Sample, Series};

    use super::*;

    const NOW: UnixNanos = UnixNanos::from_seconds(1_800_003_600);

    #[tokio::test(flavor = "multi_thread")]
    async fn stored_metrics_are_inspected() {
        let series = |name: &str, kind| {
            let labels =
                [("service".to_owned(), "cart".to_owned()), ("instance".to_owned(), "cart-1".to_owned())];
            Arc::new(Series { name: name.into(), labels: labels.into(), kind, unit: String::new() })
        };
        let throttled = series("container_cpu_cfs_throttled_periods_total", MetricKind::Counter);
        let periods = series("container_cpu_cfs_periods_total", MetricKind::Counter);
        let memory = series("process.memory.usage", MetricKind::Gauge);
        let mut samples = Vec::new();
        for step in 0..240_u32 {
            let at = NOW.minus(Duration::from_secs(15) * (240 - step));
            let step = f64::from(step);
            for (series, value) in
                [(&throttled, step * 60.0), (&periods, step * 150.0), (&memory, 1e9 * (1.0 + step / 240.0))]
            {
                samples.push(Sample { series: Arc::clone(series), at, value });
            }
        }
        let store = Store::scratch().await.unwrap();
        store.append(&Batch { samples, ..Batch::default() }).await.unwrap();
        let findings = inspect(&store, NOW, &Limits::new()).await.unwrap();
        let sentences: Vec<&str> = findings.iter().map(|finding| finding.sentence.as_str()).collect();
        assert_eq!(
            sentences,
            [
                "cart, cart-1: the share of scheduling periods in which the container was throttled is 40%, above the limit of \
             25% (a request that meets a throttled period waits up to a tenth of a second).",
                "cart, cart-1: the growth of memory is 66.5% an hour, above the limit of 10% an hour (ten percent an hour double \
             in a working day).",
            ]
        );
        store.close().await.unwrap();
    }
}
