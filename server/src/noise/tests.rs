//! What becomes of alerts through [`Noise`]: held back, sampled, and brought back, each by its cause.

use std::sync::atomic::{AtomicI64, Ordering};

use detectors::suppression::history::hour_of;
use detectors::suppression::{Reason, SpikeLimit};
use domain::{AlertSource, Batch, Detail, LogRecord, Observation, SeenIn, Severity};

use super::*;

const NOW: UnixNanos = UnixNanos::from_seconds(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);

/// A clock whose hands the test moves.
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> UnixNanos {
        UnixNanos(self.0.load(Ordering::SeqCst))
    }
}

struct World {
    store: Store,
    clock: Arc<Hands>,
    incidents: Incidents,
    noise: Noise,
}

impl World {
    async fn new() -> Self {
        let store = Store::scratch().await.unwrap();
        let clock = Arc::new(Hands(AtomicI64::new(NOW.0)));
        let incidents = Incidents::load(store.clone(), clock.clone(), Default::default()).await.unwrap();
        let (_outlook, outlooks) = tokio::sync::watch::channel(Arc::default());
        let config = crate::config::Noise { mode: Mode::Recommend, ..Default::default() };
        let settings = Settings::new(&config).unwrap();
        let noise =
            Noise::load(store.clone(), clock.clone(), incidents.clone(), outlooks, settings).await.unwrap();
        Self { store, clock, incidents, noise }
    }

    /// Takes an alert at this time; what became of it.
    async fn take(&self, at: UnixNanos) -> Outcome {
        self.clock.0.store(at.0, Ordering::SeqCst);
        self.noise.accept(vec![alert(at)]).await.unwrap()[0]
    }

    async fn suppress(&self, limit: f64) {
        let one = self.noise.queue().await.unwrap().remove(0);
        let mut approval = one.approval(Reason::Flapping, "", 14, self.clock.now());
        approval.limit = SpikeLimit(limit);
        self.noise.decide(&STEP, vec![(one.fingerprint, Event::Approved(approval))]).await.unwrap();
    }

    /// What the program itself decided, latest first, in the words of the audit.
    fn by_itself(&self) -> Vec<String> {
        let noted = self.noise.audit(50).into_iter().filter(|noted| noted.entry.actor == INQUEST);
        noted
            .map(|noted| match noted.entry.event {
                Event::Reopened(reopening) => reopening.words(),
                event => event.word().to_owned(),
            })
            .collect()
    }
}

const STEP: Step<'_> = Step { actor: "somebody", source: Source::Web, note: "" };

fn alert(at: UnixNanos) -> Alert {
    Alert {
        source: AlertSource::Alertmanager,
        rule: "Retries".into(),
        service: "cart".into(),
        severity: Severity::Warning,
        host: "a".into(),
        version: String::new(),
        pattern: "retrying in <*> ms".into(),
        text: "retrying in 17 ms".into(),
        numbers: Vec::new(),
        at,
        resolved: false,
        objective: false,
        foreign_id: String::new(),
        labels: Default::default(),
    }
}

/// The first hour from `from` on in which the alert is drawn as a sample, or is not.
fn hour(from: i64, sampled: bool) -> i64 {
    let fingerprint = alert(NOW).fingerprint();
    (from..from + 10_000)
        .find(|hour| is_sampled(&fingerprint, *hour) == sampled)
        .expect("one of so many hours")
}

fn within(hour: i64, seconds: u64) -> UnixNanos {
    UnixNanos::from_seconds(hour * 3600).plus(Duration::from_secs(seconds))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_in_twenty_is_sampled_back_and_stays_held_back() {
    let world = World::new().await;
    let quiet = hour(hour_of(NOW) + 1, false);
    let drawn = hour(quiet, true);
    assert_eq!(world.take(within(quiet, 0)).await, Outcome::Heard);
    world.suppress(10.0).await;
    assert_eq!(world.take(within(quiet, 60)).await, Outcome::Suppressed);
    assert_eq!(world.by_itself(), [] as [String; 0]);
    let waits = async || {
        let one = world.noise.queue().await.unwrap().remove(0);
        (one.standing.sampled, one.waits(world.clock.now()), world.noise.waiting().await.unwrap())
    };
    assert_eq!(waits().await, (false, false, 0));
    // The approval lasts longer than the way to the hour.
    assert!(drawn - quiet < 13 * 24, "{quiet} and {drawn}");
    for seconds in [0, 60] {
        assert_eq!(world.take(within(drawn, seconds)).await, Outcome::Suppressed, "it is still held back");
    }
    assert_eq!(world.by_itself(), ["Sampled back"], "once, until somebody judged it");
    assert_eq!(waits().await, (true, true, 1));
    // Judged wrong, it is heard.
    let fingerprint = alert(NOW).fingerprint();
    world.noise.decide(&STEP, vec![(fingerprint, Event::Rejected)]).await.unwrap();
    assert_eq!(world.take(within(drawn, 120)).await, Outcome::Heard);
    world.store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spike_brings_it_back() {
    let world = World::new().await;
    let quiet = hour(hour_of(NOW) + 1, false);
    let later = hour(quiet + 1, false);
    assert_eq!(world.take(within(quiet, 0)).await, Outcome::Heard);
    world.suppress(2.0).await;
    for (seconds, expected) in [(0, Outcome::Suppressed), (60, Outcome::Suppressed), (120, Outcome::Heard)] {
        assert_eq!(world.take(within(later, seconds)).await, expected, "{seconds}");
    }
    assert_eq!(world.by_itself(), ["spike: 3 in an hour, limit 2"]);
    assert_eq!(world.take(within(later, 180)).await, Outcome::Heard, "and so it stays");
    world.store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_of_its_service_brings_it_back() {
    let world = World::new().await;
    let quiet = hour(hour_of(NOW) + 1, false);
    assert_eq!(world.take(within(quiet, 0)).await, Outcome::Heard);
    world.suppress(10.0).await;
    // That of another service does not.
    for (service, expected) in [("mail", Outcome::Suppressed), ("cart", Outcome::Heard)] {
        world.incidents.open_new(crate::incidents::grouping::tests::finding(service)).await.unwrap();
        let at = world.clock.now().plus(Duration::from_secs(60));
        assert_eq!(world.take(at).await, expected, "{service}");
    }
    assert_eq!(world.by_itself(), ["came with INC-0002"]);
    world.store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_its_time_brings_it_back() {
    let world = World::new().await;
    let quiet = hour(hour_of(NOW) + 1, false);
    assert_eq!(world.take(within(quiet, 0)).await, Outcome::Heard);
    world.suppress(10.0).await;
    let last = within(quiet, 0).plus(14 * 24 * HOUR);
    assert_eq!(world.take(last.minus(Duration::from_secs(1))).await, Outcome::Suppressed);
    assert_eq!(world.take(last).await, Outcome::Heard);
    assert_eq!(world.by_itself()[0], "expired");
    let one = world.noise.queue().await.unwrap().remove(0);
    assert!(one.standing.never_auto && one.waits(last), "it waits for a person");
    world.store.close().await.unwrap();
}

fn notice(hosts: &[&str]) -> Finding {
    Finding {
        service: "cart".into(),
        subject: "retrying in 17 ms".into(),
        severity: Severity::Notice,
        started: NOW,
        window: Window::new(NOW.minus(Duration::from_secs(300)), NOW),
        detail: Detail::Observation(Observation {
            detector: "log pattern spike".into(),
            sentence: String::new(),
            numbers: Vec::new(),
            seen_in: SeenIn::Nothing,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        }),
    }
}

async fn runs(store: &Store, version: &str, at: UnixNanos) {
    let resource = [("service.version".to_owned(), version.to_owned())];
    let log =
        LogRecord { at, service: "cart".into(), resource: Arc::new(resource.into()), ..LogRecord::default() };
    store.append(&Batch { logs: vec![log], ..Batch::default() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_that_is_held_back_returns_on_a_new_host_and_a_new_version() {
    let world = World::new().await;
    let World { store, noise, .. } = &world;
    runs(store, "1", NOW.minus(Duration::from_secs(900_000))).await;
    let held_back = async |hosts: &[&str]| noise.accept_findings(&[notice(hosts)]).await.unwrap()[0];

    assert!(!held_back(&["a", "b"]).await);
    world.suppress(10.0).await;
    for known in [&["a", "b"][..], &["b"], &[]] {
        assert!(held_back(known).await, "{known:?}");
    }
    assert!(!held_back(&["a", "b", "c"]).await, "a new host");
    world.suppress(10.0).await;
    assert!(held_back(&["c"]).await);
    runs(store, "2", NOW).await;
    assert!(!held_back(&["a"]).await, "a new version");
    let came_back = world.by_itself().into_iter().filter(|words| words != "Sampled back").collect::<Vec<_>>();
    assert_eq!(came_back, ["new version 2", "new host c"]);
    world.store.close().await.unwrap();
}
