//! The shop without a line of telemetry, watched by the agent alone: what breaks in it is found, and the right service named.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use domain::Incident;
use shop::Fault;

use super::{Watched, watch_alone};
use crate::programs::accepting;

/// A free range of ports is not to be had; this one is the shop's own, and tests take turns.
const FIRST_PORT: u16 = 18_300;
/// The shop is well for so long, and its fault has so long to be found.
const HEALTHY: Duration = Duration::from_secs(75);
const FOUND_WITHIN: Duration = Duration::from_secs(240);
const LOOK: Duration = Duration::from_secs(1);
/// Who calls whom in the shop.
const CALLS: [(&str, &str); 6] = [
    ("gateway", "catalog"),
    ("gateway", "cart"),
    ("gateway", "checkout"),
    ("checkout", "inventory"),
    ("checkout", "payment"),
    ("payment", "acquirer.example"),
];

/// The shop's program, built like this one.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    let folder = own.parent().and_then(|it| it.parent()).expect("target/PROFILE/deps");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--package", "shop", "--bin", "shop"]);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo");
    assert!(built.success(), "the shop does not build");
    folder.join("shop")
}

/// The running shop, whose processes end with it when it is asked to end, and not when it is killed.
struct Shop(Child);

impl Shop {
    fn open(watched: &Watched<'_>, fault: Fault) -> Self {
        let mut command = Command::new(program());
        command
            .args(["--bare", "--fault", fault.name(), "--fault-after", &format!("{}s", HEALTHY.as_secs())])
            .args(["--first-port", &FIRST_PORT.to_string()])
            .arg("--data-dir")
            .arg(watched.folder().join("shop"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(command.spawn().expect("the shop"))
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// The acquirer is known to the agent by its whole name.
fn is_right(incident: &Incident, fault: Fault) -> bool {
    incident.root_service.split('.').next() == Some(fault.expected_service())
}

/// Answers of investigations so far, of which the agent's host has others than the shop's.
fn answers(watched: &Watched<'_>) -> Vec<Incident> {
    let is_of_shop = |incident: &Incident| {
        CALLS.iter().any(|(from, to)| incident.service == *from || incident.service == *to)
    };
    watched.server.incidents().into_iter().filter(|it| it.runs > 0 && is_of_shop(it)).collect()
}

async fn check(fault: Fault) {
    watch_alone(async |watched| {
        let shop = Shop::open(watched, fault);
        accepting(FIRST_PORT).await;
        // What the agent saw is in the store, before anything is wrong.
        for (caller, callee) in CALLS {
            let edge = watched.edge(caller, callee).await;
            assert!(edge.calls > 0, "{edge:?}");
        }
        tokio::time::sleep(HEALTHY / 2).await;
        let early = answers(watched);
        assert!(early.is_empty(), "nothing is wrong yet: {early:#?}");

        let mut first = None;
        let looking = tokio::time::timeout(HEALTHY + FOUND_WITHIN, async {
            loop {
                let found = answers(watched);
                first = first.take().or_else(|| found.first().cloned());
                if let Some(right) = found.into_iter().find(|it| is_right(it, fault)) {
                    return right;
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        let found = looking.await;
        drop(shop);
        let Ok(incident) = found else {
            panic!(
                "{} is not blamed for {fault}: {:#?}",
                fault.expected_service(),
                watched.server.incidents()
            );
        };
        let first = first.map_or_else(String::new, |it| it.root_service);
        eprintln!("{fault}: {} blamed, at first {first:?}: {}", incident.root_service, incident.summary);
        let (status, page) = watched.server.get(&format!("/incidents/{}", incident.id)).await;
        assert!(status == 200 && page.contains("Most likely cause"), "{page}");
        let (status, page) = watched.server.get("/services/checkout").await;
        assert!(status == 200 && page.contains("gateway") && page.contains("payment"), "{page}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_checkout() {
    check(Fault::FlagError).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and is of a kind with the first"]
async fn a_lock_in_inventory() {
    check(Fault::DatabaseLock).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and is of a kind with the first"]
async fn an_acquirer_that_became_slow() {
    check(Fault::SlowDependency).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and is of a kind with the first"]
async fn a_catalog_that_asks_too_often() {
    check(Fault::NPlusOne).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and is of a kind with the first"]
async fn more_visitors_than_catalog_can_serve() {
    check(Fault::TrafficSurge).await;
}
