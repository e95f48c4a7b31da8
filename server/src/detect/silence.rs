//! Services that fell silent while they are still called: asks who called them, and whether they still do.

use std::collections::BTreeMap;
use std::time::Duration;

use detectors::SliSeries;
use detectors::silence::{CallerCalls, Vanished, evaluate, vanished};
use domain::{Finding, Sli, UnixNanos, Window};
use storage::Store;

use super::levels::Levels;

/// Callers are learned from this much of the time before the silence.
const BEFORE: Duration = Duration::from_secs(600);
/// A silence that has lasted longer is no news.
const NEWS: Duration = Duration::from_secs(6 * 3600);
/// How often callers are asked about again.
const RECHECK: Duration = Duration::from_secs(60);
/// Services asked about in one round; the others have their turn in the next.
const MAX_ASKED: usize = 8;
/// Calls that the callers' operations made before, beyond what the service received, at most: else they call others by
/// the same name, and who is called now cannot be told.
const AMBIGUOUS: f64 = 2.0;

/// Silent services with what was found about them, and when.
#[derive(Debug, Default)]
pub struct Silences {
    known: BTreeMap<String, (Vanished, UnixNanos, Option<Finding>)>,
}

impl Silences {
    /// Silent services that are still called.
    pub async fn findings(
        &mut self,
        store: &Store,
        levels: &Levels,
        now: UnixNanos,
    ) -> Result<Vec<Finding>, storage::Error> {
        let silent: BTreeMap<&str, (Vanished, SliSeries)> = levels
            .services()
            .filter_map(|(service, series)| Some((service, (vanished(&series, now)?, series))))
            .filter(|(_, (silence, _))| silence.since.plus(NEWS) > now)
            .collect();
        self.known.retain(|service, (known, _, _)| {
            silent.get(service.as_str()).is_some_and(|(silence, _)| silence.since == known.since)
        });
        let due = |service: &&str| self.known.get(*service).is_none_or(|(_, at, _)| at.plus(RECHECK) <= now);
        let due: Vec<&str> = silent.keys().copied().filter(due).take(MAX_ASKED).collect();
        for service in due {
            let (silence, series) = &silent[service];
            let finding = ask(store, service, silence, series, now).await?;
            self.known.insert(service.to_owned(), (*silence, now, finding));
        }
        Ok(self.known.values().filter_map(|(_, _, finding)| finding.clone()).collect())
    }
}

async fn ask(
    store: &Store,
    service: &str,
    silence: &Vanished,
    series: &SliSeries,
    now: UnixNanos,
) -> Result<Option<Finding>, storage::Error> {
    let before = Window::new(silence.since.minus(BEFORE), silence.since);
    let callers = store.callers(service, before, Window::new(silence.since, now)).await?;
    let received = series.burn(Sli::Availability, 0.5, silence.since, BEFORE).requests;
    let made: u64 = callers.iter().map(|caller| caller.calls_before).sum();
    if made as f64 > AMBIGUOUS * received {
        return Ok(None);
    }
    let calls: Vec<CallerCalls> = callers
        .into_iter()
        .map(|caller| CallerCalls { caller: caller.service, calls: caller.calls, failed: caller.failed })
        .collect();
    Ok(evaluate(service, silence, &calls, now))
}
