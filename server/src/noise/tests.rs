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
        let noise = Self::load(&store, &clock, &incidents).await;
        Self { store, clock, incidents, noise }
    }

    async fn load(store: &Store, clock: &Arc<Hands>, incidents: &Incidents) -> Noise {
        let (_outlook, outlooks) = tokio::sync::watch::channel(Arc::default());
        let config = crate::config::Noise { mode: Mode::Recommend, ..Default::default() };
        let settings = Settings::new(&config).unwrap();
        Noise::load(store.clone(), clock.clone(), incidents.clone(), outlooks, settings).await.unwrap()
    }

    /// As after a restart.
    async fn load_again(&mut self) {
        self.noise = Self::load(&self.store, &self.clock, &self.incidents).await;
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

/// What Alertmanager would be told, in a word.
async fn told(world: &World) -> Vec<&'static str> {
    let word = |change: &SilenceChange| match change {
        SilenceChange::Begin(..) => "begin",
        SilenceChange::End(_) => "end",
    };
    world.noise.silences_to_change().await.unwrap().iter().map(|(_, change)| word(change)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silenced_alert_is_heard_in_an_incident_though_nobody_told_of_it() {
    let world = World::new().await;
    let fingerprint = alert(NOW).fingerprint();
    let began = within(hour(hour_of(NOW) + 1, false), 0);
    assert_eq!(world.take(began).await, Outcome::Heard);
    world.suppress(10.0).await;
    assert_eq!(told(&world).await, ["begin"]);
    world.noise.book().set_silence(&fingerprint, Silence { id: "s-1".into(), ends: None });
    assert_eq!(told(&world).await, [] as [&str; 0]);
    world.incidents.open_new(crate::incidents::grouping::tests::finding("cart")).await.unwrap();
    assert_eq!(told(&world).await, ["end"]);
    // Nothing came, so that nobody was wrong about it.
    assert_eq!(world.by_itself(), [] as [String; 0]);
    world.noise.book().set_silence(&fingerprint, Silence::default());
    assert_eq!(told(&world).await, [] as [&str; 0]);
    // It has fired all the time, and is sent again with the same beginning.
    assert_eq!(world.take(began).await, Outcome::Heard);
    assert_eq!(world.by_itself().len(), 1, "{:?}", world.by_itself());
    world.store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_ends_with_its_approval_and_without_its_alert() {
    let world = World::new().await;
    let fingerprint = alert(NOW).fingerprint();
    assert_eq!(world.take(NOW).await, Outcome::Heard);
    world.suppress(10.0).await;
    let silence = |ends| Silence { id: "s-1".into(), ends: Some(ends) };
    // Of an approval before, which was shorter.
    world.noise.book().set_silence(&fingerprint, silence(NOW));
    assert_eq!(told(&world).await, ["end"]);
    world.noise.book().set_silence(&fingerprint, Silence::default());
    assert_eq!(told(&world).await, ["begin"]);
    // Of an alert that is not at hand any more.
    world.noise.book().set_silence("forgotten", silence(NOW));
    assert_eq!(told(&world).await.len(), 2);
    // Once the approval is over, none is asked for.
    world.clock.0.store(NOW.plus(HOUR * 24 * 15).0, Ordering::SeqCst);
    assert_eq!(told(&world).await, ["end"]);
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

/// Alertmanager's word on one pod.
fn of_pod(pod: &str, resolved: bool, seconds: u64) -> Alert {
    let at = NOW.plus(Duration::from_secs(seconds));
    Alert { host: pod.into(), foreign_id: format!("of {pod}"), resolved, ..alert(at) }
}

fn all_of(said: &mut broadcast::Receiver<Arc<Heard>>) -> Vec<(String, bool)> {
    std::iter::from_fn(|| said.try_recv().ok())
        .map(|heard| (heard.alert.host.clone(), heard.alert.resolved))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_one_instance_is_not_the_end_of_the_alert() {
    let mut world = World::new().await;
    world.clock.0.store(NOW.plus(HOUR).0, Ordering::SeqCst);
    let goes_on = Outcome::GoesOn { suppressed: false };
    let check = async |world: &World, alerts: Vec<Alert>, expected: [Outcome; 2], heard: &[(&str, bool)]| {
        let mut said = world.noise.subscribe();
        assert_eq!(world.noise.accept(alerts).await.unwrap(), expected);
        let heard: Vec<(String, bool)> = heard.iter().map(|(pod, end)| ((*pod).to_owned(), *end)).collect();
        assert_eq!(all_of(&mut said), heard);
    };
    let both = || vec![of_pod("a", false, 0), of_pod("b", false, 10)];
    check(&world, both(), [Outcome::Heard; 2], &[("a", false), ("b", false)]).await;
    check(&world, both(), [goes_on; 2], &[]).await;
    for _ in 0..2 {
        // After a restart, too.
        check(&world, vec![of_pod("a", true, 60), of_pod("b", false, 10)], [goes_on; 2], &[]).await;
        world.load_again().await;
    }
    // It burns again, and then all of it is over.
    let again = vec![of_pod("a", false, 120), of_pod("b", false, 10)];
    check(&world, again, [Outcome::Heard, goes_on], &[("a", false)]).await;
    let over = vec![of_pod("b", true, 180), of_pod("a", true, 180)];
    check(&world, over, [goes_on, Outcome::Heard], &[("a", true)]).await;
    world.load_again().await;
    // One of which nothing was said for a day keeps no end from being heard.
    check(
        &world,
        vec![of_pod("a", false, 300), of_pod("b", false, 300)],
        [Outcome::Heard; 2],
        &[("a", false), ("b", false)],
    )
    .await;
    let later = NOW.plus(26 * HOUR);
    world.clock.0.store(later.0, Ordering::SeqCst);
    let mut said = world.noise.subscribe();
    assert_eq!(world.noise.accept(vec![of_pod("a", true, 7200)]).await.unwrap(), [Outcome::Heard]);
    assert_eq!(all_of(&mut said), [("a".to_owned(), true)]);
    world.store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_that_could_not_be_stored_are_heard_when_they_are_sent_again() {
    let world = World::new().await;
    let mut said = world.noise.subscribe();
    let sql = async |sql: &str| world.store.client().query(sql).execute().await.unwrap();
    assert_eq!(world.noise.accept(vec![of_pod("a", false, 0)]).await.unwrap(), [Outcome::Heard]);
    assert_eq!(all_of(&mut said).len(), 1);

    sql("RENAME TABLE alerts TO alerts_away").await;
    let more = || {
        let other = Alert { service: "mail".into(), ..of_pod("c", false, 20) };
        vec![of_pod("b", false, 10), other]
    };
    world.noise.accept(more()).await.unwrap_err();
    assert_eq!(all_of(&mut said), [], "nobody is told of what is not stored");
    let counted: Vec<u64> =
        world.noise.queue().await.unwrap().into_iter().map(|one| one.history.total).collect();
    assert_eq!(counted, [1]);

    sql("RENAME TABLE alerts_away TO alerts").await;
    assert_eq!(world.noise.accept(more()).await.unwrap(), [Outcome::Heard; 2]);
    assert_eq!(all_of(&mut said), [("b".to_owned(), false), ("c".to_owned(), false)]);
    world.store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_button_pressed_twice_decides_once() {
    let world = World::new().await;
    assert_eq!(world.take(NOW).await, Outcome::Heard);
    let fingerprint = alert(NOW).fingerprint();
    let approved = || {
        let approval = detectors::suppression::Approval {
            reason: Reason::Flapping,
            note: String::new(),
            expires: NOW.plus(24 * HOUR),
            limit: SpikeLimit(10.0),
            hosts: Default::default(),
            versions: Default::default(),
            pages_saved: 0,
        };
        Event::Approved(approval)
    };
    for event in [approved, || Event::Rejected] {
        for changed in [1, 0] {
            let decided = world.noise.decide(&STEP, vec![(fingerprint.clone(), event())]).await.unwrap();
            assert_eq!(decided, DecidedOn { alerts: 1, changed });
        }
        // One step was taken, and one is taken back.
        assert_eq!(world.noise.undo(&fingerprint, &STEP, None).await.unwrap(), Some(1));
        assert_eq!(world.noise.undo(&fingerprint, &STEP, None).await.unwrap(), Some(0));
    }
    world.store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_takes_back_what_was_seen_and_nothing_else() {
    let world = World::new().await;
    let quiet = hour(hour_of(NOW) + 1, false);
    assert_eq!(world.take(within(quiet, 0)).await, Outcome::Heard);
    world.suppress(10.0).await;
    let approved = world.noise.queue().await.unwrap().remove(0).standing.since;
    let page = crate::pages::ReviewPage {
        now: world.clock.now(),
        proposals: world.noise.queue().await.unwrap(),
        open: String::new(),
        details: Details::default(),
        done: Some((alert(NOW).fingerprint(), "it is suppressed".into())),
        measures: Measures::default(),
        modes: world.noise.modes(),
        expiry_days: 14,
        top: Default::default(),
    };
    let field = format!(r#"<input type="hidden" name="since" value="{}">"#, approved.unwrap().0);
    let drawn = crate::pages::render_review(&page);
    assert_eq!(drawn.matches(&field).count(), 2, "with the row, and with what was just done: {drawn}");
    world.incidents.open_new(crate::incidents::grouping::tests::finding("cart")).await.unwrap();
    assert_eq!(world.take(within(quiet, 60)).await, Outcome::Heard);
    // The page showed the approval; what stands is that it came back.
    let fingerprint = alert(NOW).fingerprint();
    assert_eq!(world.noise.undo(&fingerprint, &STEP, approved).await.unwrap(), None);
    assert!(world.noise.queue().await.unwrap()[0].standing.approval().is_none());
    let back = world.noise.queue().await.unwrap().remove(0).standing.since;
    world.clock.0.store(within(quiet, 120).0, Ordering::SeqCst);
    assert_eq!(world.noise.undo(&fingerprint, &STEP, back).await.unwrap(), Some(1));
    assert_eq!(world.noise.undo(&fingerprint, &STEP, back).await.unwrap(), None, "pressed twice means once");
    world.store.close().await.unwrap();
}
