//! Events of Kubernetes that arrive as log records, taken as alerts.
//!
//! Two receivers of the OpenTelemetry Collector send them. `k8s_events`: the message is the body, the rest is in attributes
//! (`k8s.event.reason`, `k8s.object.kind`). `k8sobjects`: the object is the body, as JSON, when it watches within
//! `{"type": "ADDED", "object": {..}}`; the attribute `k8s.resource.name` says `events`. Events of type `Warning` are alerts,
//! the `Normal` ones are not. The records are stored like any log beside it; what is noise is decided like for any alert.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use detectors::log_template::mask;
use domain::alert::{MAX_ALERT_NAME, MAX_ALERT_TEXT};
use domain::text::plain;
use domain::{Alert, AlertSource, Attributes, Batch, Clock, LogRecord, Severity, UnixNanos};
use prometheus_client::metrics::counter::Counter;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Noise;

/// Batches with events that wait to be judged. Beyond, the sender is not held up: what does not fit is dropped and counted.
pub const MAX_WAITING: usize = 64;
/// Sightings remembered: a receiver that asks for all events again and again sends each many times.
const MAX_SEEN: usize = 20_000;
/// Kubernetes itself forgets an event after this time. What is older is no news.
const STALE: Duration = Duration::from_secs(3600);
/// Tries to take a batch. One that is given up is lost: its sightings count as seen.
const TRIES: u32 = 5;
/// The first wait between tries; each next one is four times as long. What arrives meanwhile waits, up to [`MAX_WAITING`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Characters that Kubernetes makes random parts of names from: no vowels, and nothing that looks like another.
const RANDOM: &str = "bcdfghjklmnpqrstvwxz2456789";

/// An event as it happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Of the event object; together with `alert.at` it tells one sighting from the next.
    id: String,
    /// What it says.
    alert: Alert,
}

/// The warnings of Kubernetes in a batch.
pub fn events(batch: &Batch) -> Vec<Event> {
    batch.logs.iter().filter_map(event).collect()
}

/// Judges what arrives until `stop`; counts in `dropped` what could not be.
pub async fn run(
    mut arriving: mpsc::Receiver<Vec<Event>>,
    noise: Noise,
    clock: Arc<dyn Clock>,
    dropped: Counter,
    stop: CancellationToken,
) {
    let mut seen = Seen::default();
    loop {
        let events = tokio::select! {
            () = stop.cancelled() => return,
            events = arriving.recv() => match events {
                Some(events) => events,
                None => return,
            },
        };
        let alerts = news(events, &mut seen, clock.now());
        let count = alerts.len() as u64;
        let accept = || noise.accept(alerts.clone());
        if let Err(error) = patiently(accept, &stop).await {
            dropped.inc_by(count);
            tracing::error!(
                count,
                error = format!("{error:#}"),
                "events of Kubernetes could not be taken as alerts"
            );
        }
    }
}

/// What of these was not seen before. A sighting is known by the time that it says; as an alert it is of now at the latest, since
/// what is dated in the future would make all that follows it look old.
fn news(events: Vec<Event>, seen: &mut Seen, now: UnixNanos) -> Vec<Alert> {
    let oldest = now.minus(STALE);
    events
        .into_iter()
        .filter(|event| event.alert.at >= oldest && seen.is_first(event))
        .map(|event| Alert { at: event.alert.at.min(now), ..event.alert })
        .collect()
}

/// Tries until it succeeds, at most [`TRIES`] times, and not again after `stop`.
async fn patiently<T, F>(attempt: impl Fn() -> F, stop: &CancellationToken) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let mut wait = FIRST_WAIT;
    for _ in 1..TRIES {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                wait_ms = wait.as_millis(),
                "events of Kubernetes could not be taken as alerts yet"
            ),
        }
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            break;
        }
        wait *= 4;
    }
    // Told to stop, or out of patience: once more, and the error is the caller's.
    attempt().await
}

/// The latest sightings.
#[derive(Default)]
struct Seen {
    known: HashSet<(String, UnixNanos)>,
    order: VecDeque<(String, UnixNanos)>,
}

impl Seen {
    fn is_first(&mut self, event: &Event) -> bool {
        let sighting = (event.id.clone(), event.alert.at);
        if !self.known.insert(sighting.clone()) {
            return false;
        }
        self.order.push_back(sighting);
        if self.order.len() > MAX_SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

/// What both receivers tell, by whatever name.
#[derive(Default)]
struct Told {
    id: String,
    at: UnixNanos,
    reason: String,
    message: String,
    kind: String,
    name: String,
    namespace: String,
    node: String,
    count: String,
}

fn event(log: &LogRecord) -> Option<Event> {
    let told = if log.attributes.contains_key("k8s.event.reason") {
        of_attributes(log)
    } else if log.attributes.get("k8s.resource.name").is_some_and(|resource| resource == "events") {
        of_object(log)
    } else {
        None
    };
    told.filter(|told| !told.reason.is_empty()).map(|told| told.into_event(log))
}

/// `k8s_events`.
fn of_attributes(log: &LogRecord) -> Option<Told> {
    if !log.severity_text.eq_ignore_ascii_case("warning") {
        return None;
    }
    let named =
        |name: &str| log.attributes.get(name).or_else(|| log.resource.get(name)).cloned().unwrap_or_default();
    Some(Told {
        id: named("k8s.event.uid"),
        at: log.at,
        reason: named("k8s.event.reason"),
        message: log.body.clone(),
        kind: named("k8s.object.kind"),
        name: named("k8s.object.name"),
        namespace: named("k8s.namespace.name"),
        node: named("k8s.node.name"),
        count: named("k8s.event.count"),
    })
}

/// `k8sobjects`: objects of `v1` and of `events.k8s.io/v1`, which name some fields differently.
fn of_object(log: &LogRecord) -> Option<Told> {
    let body: Value = serde_json::from_str(&log.body).ok()?;
    if body["type"] == "DELETED" {
        return None;
    }
    let object = if body["object"].is_object() { &body["object"] } else { &body };
    if !object["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("warning")) {
        return None;
    }
    let first = |pointers: &[&str]| {
        let found = pointers.iter().find_map(|pointer| match object.pointer(pointer)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        found.unwrap_or_default()
    };
    let at = first(&[
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/deprecatedLastTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ]);
    Some(Told {
        id: first(&["/metadata/uid", "/metadata/name"]),
        at: UnixNanos::parse(&at).unwrap_or(log.at),
        reason: first(&["/reason"]),
        message: first(&["/message", "/note"]),
        kind: first(&["/involvedObject/kind", "/regarding/kind"]),
        name: first(&["/involvedObject/name", "/regarding/name"]),
        namespace: first(&["/involvedObject/namespace", "/regarding/namespace", "/metadata/namespace"]),
        node: first(&["/source/host", "/deprecatedSource/host"]),
        count: first(&["/series/count", "/count", "/deprecatedCount"]),
    })
}

impl Told {
    fn into_event(self, log: &LogRecord) -> Event {
        let text = match self.message.trim() {
            "" => self.reason.as_str(),
            message => message,
        };
        // The name of a pod is another one after each restart, and its text stays the same.
        let unnamed = match self.name.is_empty() {
            true => text.to_owned(),
            false => text.replace(&self.name, "<*>"),
        };
        let name = |text: &str| plain(text, MAX_ALERT_NAME);
        let labels = [("kind", &self.kind), ("name", &self.name), ("namespace", &self.namespace)];
        let labels: BTreeMap<String, String> = labels
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(label, value)| (label.to_owned(), name(value)))
            .collect();
        let host = match self.kind.as_str() {
            "Node" => self.name.as_str(),
            _ => self.node.as_str(),
        };
        let alert = Alert {
            source: AlertSource::Kubernetes,
            rule: name(&format!("Kubernetes {}", self.reason)),
            service: name(&workload(&self.kind, &self.name, [&log.attributes, &*log.resource])),
            severity: Severity::Warning,
            host: name(host),
            version: String::new(),
            pattern: plain(&mask(&unnamed), MAX_ALERT_TEXT),
            text: plain(text, MAX_ALERT_TEXT),
            numbers: match self.count.as_str() {
                "" => Vec::new(),
                count => vec![("Count".into(), name(count))],
            },
            at: self.at,
            resolved: false,
            objective: false,
            foreign_id: String::new(),
            labels,
        };
        Event { id: name(&self.id), alert }
    }
}

/// The service that an object is of: what an enricher says, or the name without the parts that Kubernetes adds. Empty for a
/// node, which is of no service.
fn workload(kind: &str, name: &str, told: [&Attributes; 2]) -> String {
    let owners = [
        "k8s.deployment.name",
        "k8s.statefulset.name",
        "k8s.daemonset.name",
        "k8s.cronjob.name",
        "k8s.job.name",
    ];
    let owner = owners.iter().find_map(|owner| told.iter().find_map(|attributes| attributes.get(*owner)));
    if let Some(owner) = owner.filter(|owner| !owner.is_empty()) {
        return owner.clone();
    }
    let cut = match kind {
        "Node" | "Namespace" => "",
        // `cart-7d9f8b6c5-x2kqz` of a deployment, `node-agent-x2kqz` of a daemon set, `db-0` of a stateful set.
        "Pod" => match cut(name, |part| part.len() == 5 && is_random(part)) {
            Some(set) => cut(set, |part| part.len() >= 6 && is_random(part)).unwrap_or(set),
            None => cut(name, is_number).unwrap_or(name),
        },
        "ReplicaSet" => cut(name, is_random).unwrap_or(name),
        // `report-28412345` of a cron job: minutes since the epoch.
        "Job" => cut(name, |part| part.len() >= 8 && is_number(part)).unwrap_or(name),
        _ => name,
    };
    cut.to_owned()
}

/// The name without its last part, if that is such a part.
fn cut(name: &str, is_such: impl Fn(&str) -> bool) -> Option<&str> {
    name.rsplit_once('-').filter(|(rest, part)| !rest.is_empty() && is_such(part)).map(|(rest, _)| rest)
}

fn is_random(part: &str) -> bool {
    !part.is_empty() && part.chars().all(|character| RANDOM.contains(character))
}

fn is_number(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// As `k8s_events` sends it.
    fn record(kind: &str) -> LogRecord {
        LogRecord {
            at: UnixNanos::from_seconds(1000),
            severity_text: kind.into(),
            severity_number: 13,
            body: "Back-off restarting failed container app in pod cart-7d9f8b6c5-x2kqz_shop(0a1b2c3d-0000-4000-8000-000000000001)"
                .into(),
            resource: Arc::new(attributes(&[
                ("k8s.node.name", "node-3"),
                ("k8s.object.kind", "Pod"),
                ("k8s.object.name", "cart-7d9f8b6c5-x2kqz"),
            ])),
            attributes: attributes(&[
                ("k8s.event.reason", "BackOff"),
                ("k8s.event.uid", "u1"),
                ("k8s.event.count", "7"),
                ("k8s.namespace.name", "shop"),
            ]),
            ..LogRecord::default()
        }
    }

    fn told(event: &Event) -> [&str; 4] {
        [&event.alert.rule, &event.alert.service, &event.alert.host, &event.alert.pattern]
    }

    #[test]
    fn a_warning_of_either_receiver_is_an_alert() {
        let first = event(&record("Warning")).unwrap();
        let pattern = "Back-off restarting failed container app in pod <*>";
        let [rule, service, host, found] = told(&first);
        assert_eq!((rule, service, host), ("Kubernetes BackOff", "cart", "node-3"));
        assert!(found.starts_with(pattern), "{found}");
        assert_eq!(first.alert.numbers, [("Count".to_owned(), "7".to_owned())]);
        assert_eq!(first.alert.at, UnixNanos::from_seconds(1000));
        assert_eq!(event(&record("Normal")), None);

        let object = |watch: &str| {
            let object = r#"{"kind":"Event","type":"Warning","reason":"BackOff","lastTimestamp":"1970-01-01T00:16:40Z","count":7,
              "metadata":{"uid":"u1","name":"cart.17a"},"source":{"component":"kubelet","host":"node-3"},
              "message":"Back-off restarting failed container app in pod cart-7d9f8b6c5-x2kqz_shop(0a1b2c3d-0000-4000-8000-000000000001)",
              "involvedObject":{"kind":"Pod","name":"cart-7d9f8b6c5-x2kqz","namespace":"shop"}}"#;
            let body = match watch {
                "" => object.to_owned(),
                watch => format!(r#"{{"type":"{watch}","object":{object}}}"#),
            };
            let attributes = attributes(&[("k8s.resource.name", "events")]);
            event(&LogRecord { body, attributes, at: UnixNanos::from_seconds(5000), ..LogRecord::default() })
        };
        assert_eq!(object("MODIFIED").unwrap(), first);
        assert_eq!(object("").unwrap(), first);
        assert_eq!(object("DELETED"), None);
    }

    #[test]
    fn pods_of_one_workload_say_one_thing() {
        let first = event(&record("Warning")).unwrap();
        let mut other = record("Warning");
        other.body = other.body.replace("x2kqz", "bb95d").replace("0001)", "0002)");
        let resource = attributes(&[("k8s.object.kind", "Pod"), ("k8s.object.name", "cart-7d9f8b6c5-bb95d")]);
        other.resource = Arc::new(resource);
        assert_eq!(event(&other).unwrap().alert.fingerprint(), first.alert.fingerprint());
    }

    #[test]
    fn the_service_of_an_object() {
        let check = |kind: &str, name: &str, expected: &str| {
            assert_eq!(
                workload(kind, name, [&Attributes::new(), &Attributes::new()]),
                expected,
                "{kind} {name}"
            );
        };
        check("Pod", "cart-7d9f8b6c5-x2kqz", "cart");
        check("Pod", "node-agent-x2kqz", "node-agent");
        check("Pod", "db-0", "db");
        check("Pod", "alone", "alone");
        check("Pod", "cart-sales", "cart-sales");
        check("ReplicaSet", "cart-7d9f8b6c5", "cart");
        check("Job", "report-28412345", "report");
        check("Deployment", "cart", "cart");
        check("Node", "node-3", "");
        let told = attributes(&[("k8s.deployment.name", "shop-cart")]);
        assert_eq!(workload("Pod", "x-7d9f8b6c5-x2kqz", [&Attributes::new(), &told]), "shop-cart");
    }

    #[test]
    fn a_sighting_counts_once() {
        let mut seen = Seen::default();
        let first = event(&record("Warning")).unwrap();
        assert!(seen.is_first(&first));
        assert!(!seen.is_first(&first));
        let mut later = first;
        later.alert.at = UnixNanos::from_seconds(1060);
        assert!(seen.is_first(&later));
    }

    #[test]
    fn an_event_dated_in_the_future_is_taken_as_of_now_and_counts_once() {
        let now = UnixNanos::from_seconds(2000);
        let mut future = event(&record("Warning")).unwrap();
        future.alert.at = UnixNanos::from_seconds(4_102_444_800);
        let mut seen = Seen::default();
        let taken = news(vec![future.clone()], &mut seen, now);
        assert_eq!(taken.iter().map(|alert| alert.at).collect::<Vec<_>>(), [now]);
        let later = now.plus(Duration::from_secs(60));
        assert_eq!(news(vec![future], &mut seen, later), [] as [Alert; 0], "the same sighting, sent again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_fails_is_tried_again_a_few_times() {
        // How many fail; how often it is tried, and whether it succeeds then.
        for (failing, expected) in [(0, (1, true)), (2, (3, true)), (9, (TRIES, false))] {
            let tries = std::cell::Cell::new(0);
            let attempt = async || {
                tries.set(tries.get() + 1);
                anyhow::ensure!(tries.get() > failing, "the store is away");
                Ok(())
            };
            let done = patiently(attempt, &CancellationToken::new()).await;
            assert_eq!((tries.get(), done.is_ok()), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_is_not_kept_waiting_by_a_batch_that_fails() {
        let began = tokio::time::Instant::now();
        let stop = CancellationToken::new();
        stop.cancel();
        let done: anyhow::Result<()> = patiently(async || anyhow::bail!("the store is away"), &stop).await;
        assert!(done.is_err() && began.elapsed().is_zero());
    }

    proptest! {
        #[test]
        fn any_record_is_read_or_passed_over(body in ".*", reason in ".*", kind in ".*", name in ".*") {
            let mut log = record("Warning");
            log.body.clone_from(&body);
            log.attributes.insert("k8s.event.reason".into(), reason.clone());
            log.resource = Arc::new(attributes(&[("k8s.object.kind", &kind), ("k8s.object.name", &name)]));
            prop_assert_eq!(event(&log).is_some(), !reason.is_empty());
            log.attributes = attributes(&[("k8s.resource.name", "events")]);
            let object = serde_json::json!({"type": "Warning", "reason": reason, "involvedObject": {"kind": kind, "name": name}});
            for body in [body, object.to_string()] {
                log.body = body;
                event(&log);
            }
        }
    }
}
