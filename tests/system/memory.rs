//! Past incidents like a new one are found, by the store and by Qdrant's own engine, which keep the same promises.

use std::path::Path;

use domain::{IncidentId, UnixNanos};
use server::memory::qdrant::Qdrant;
use storage::{Neighbour, Remembered, Store};

use crate::harness::{TestServer, serve, serve_with};
use crate::incident::{break_payment, investigated};
use crate::programs::{Program, accepting, fetched, free_address, python, start_with};

/// Qdrant: the server that `QDRANT_URL` names, or its engine behind tests/programs/qdrant.py, which ends with this.
struct Engine {
    url: String,
    _program: Option<Program>,
}

impl Engine {
    /// `None`, and a word about it, where there is neither.
    async fn start(folder: &Path) -> Option<Self> {
        if let Ok(url) = std::env::var("QDRANT_URL") {
            return Some(Self { url, _program: None });
        }
        Self::at(free_address().port(), folder).await
    }

    /// The engine at a port of loopback.
    async fn at(port: u16, folder: &Path) -> Option<Self> {
        let (python, libraries) = (python()?, fetched("python", "qdrant_edge")?);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/qdrant.py");
        let path = ("PYTHONPATH", libraries.to_string_lossy().into_owned());
        let folder_text = folder.to_string_lossy();
        let program = start_with(folder, &[path], &python, &[script, &port.to_string(), &folder_text]);
        accepting(port).await;
        Some(Self { url: format!("http://127.0.0.1:{port}"), _program: Some(program) })
    }
}

/// Who finds neighbours.
enum Finder<'a> {
    Store(&'a Store),
    Qdrant(Qdrant),
}

impl Finder<'_> {
    async fn put(&self, at: i64, memory: Remembered) {
        match self {
            Self::Store(store) => {
                store.memory_put(UnixNanos::from_seconds(at), &memory).await.expect("stored")
            }
            Self::Qdrant(qdrant) => qdrant.put(&[memory]).await.expect("stored"),
        }
    }

    async fn near(&self, model: &str, incident: u32, vector: &[f32], limit: u32) -> Vec<Neighbour> {
        match self {
            Self::Store(store) => store.memory_near(model, incident, vector, limit).await.expect("an answer"),
            Self::Qdrant(qdrant) => qdrant.near(model, incident, vector, limit).await.expect("an answer"),
        }
    }
}

fn memory(model: &str, incident: u32, vector: &[f32]) -> Remembered {
    let features = vec![format!("in {incident}"), "mechanism «down» 💥".to_owned()];
    Remembered { model: model.into(), incident, features, vector: vector.into() }
}

/// A vector of some direction, the same for the same number.
fn direction(number: u32) -> Vec<f32> {
    let mut state = u64::from(number) + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..32).map(|_| next()).collect()
}

/// What is promised of nearest neighbours, whoever finds them; what was found of many, for comparison.
async fn check(finder: &Finder<'_>) -> Vec<(u32, f64)> {
    let model = format!("small/{}", std::process::id());
    for (incident, vector) in [(1, [1.0, 0.0]), (2, [0.0, 2.0]), (3, [0.8, 0.6]), (4, [1.0, 0.0])] {
        finder.put(10, memory(&model, incident, &vector)).await;
    }
    // Another model's, and another length of vector, are not compared.
    finder.put(10, memory("another", 5, &[1.0, 0.0])).await;
    finder.put(10, memory(&model, 6, &[1.0, 0.0, 0.0])).await;
    // A later memory of the same incident takes the place of the earlier.
    finder.put(20, memory(&model, 4, &[0.0, -1.0])).await;

    let near = finder.near(&model, 1, &[3.0, 0.0], 3).await;
    let found: Vec<(u32, f64)> =
        near.iter().map(|near| (near.incident, (near.distance * 1e4).round() / 1e4)).collect();
    assert_eq!(found[0], (3, 0.2), "nearest first, by angle, itself left out");
    let mut rest = found[1..].to_vec();
    rest.sort_by_key(|(incident, _)| *incident);
    assert_eq!(rest, [(2, 1.0), (4, 1.0)]);
    assert_eq!(near[0].features, memory(&model, 3, &[]).features);
    assert_eq!(finder.near(&model, 1, &[3.0, 0.0], 1).await.len(), 1);
    assert_eq!(finder.near(&model, 9, &[1.0, 0.0], 9).await[0].incident, 1);

    let many = format!("many/{}", std::process::id());
    for number in 0..300 {
        finder.put(30, memory(&many, number, &direction(number))).await;
    }
    let near = finder.near(&many, 7, &direction(7), 50).await;
    assert_eq!(near.len(), 50);
    assert!(near.iter().all(|near| near.incident != 7));
    assert!(near.is_sorted_by(|one, other| one.distance <= other.distance));
    near.into_iter().map(|near| (near.incident, near.distance)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_and_qdrant_find_the_same_neighbours() {
    serve(async |server| {
        let by_store = check(&Finder::Store(server.store())).await;
        let folder = tempfile::tempdir().expect("a folder");
        let Some(engine) = Engine::start(folder.path()).await else { return };
        let by_qdrant = check(&Finder::Qdrant(Qdrant::new(&engine.url).expect("a client"))).await;
        for (one, other) in by_store.iter().zip(&by_qdrant) {
            assert_eq!(one.0, other.0);
            assert!((one.1 - other.1).abs() < 1e-5, "{one:?} {other:?}");
        }
    })
    .await;
}

/// What the page of an incident says of past ones like it.
async fn similar(server: &TestServer, id: IncidentId) -> Option<String> {
    let (status, page) = server.get(&format!("/incidents/{id}")).await;
    assert_eq!(status, 200);
    let from = page.find("Similar past incidents")?;
    page[from..].split("</section>").next().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_that_happens_again_is_recognised_with_qdrant_and_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_address().port();
    let url = format!("http://127.0.0.1:{port}");
    let named = |config: &mut server::config::Config| config.memory.qdrant = Some(url.clone());
    serve_with(named, async |server: &mut TestServer| {
        // The first happens while Qdrant is away.
        break_payment(server).await;
        let first = investigated(server).await.id;
        assert_eq!(similar(server, first).await, None);
        let form = "application/x-www-form-urlencoded";
        for (path, body) in [("feedback", "verdict=right"), ("resolve", "")] {
            let said = server.post(&server.page(&format!("/incidents/{first}/{path}")), form, body).await;
            assert_eq!(said.0, 200);
        }
        // It fails on, so it happens again; the store remembers.
        let second = server
            .until("the second", async |server: &TestServer| {
                let all = server.incidents();
                all.into_iter().find(|incident| incident.id != first && incident.runs > 0)
            })
            .await
            .id;
        let by_store = server.until("the first", async |it: &TestServer| similar(it, second).await).await;
        assert!(by_store.contains(&first.to_string()) && by_store.contains("Confirmed: "), "{by_store}");
        assert!(by_store.contains("distance 0.00"), "{by_store}");

        // Named later, Qdrant is brought level with the store.
        let Some(engine) = Engine::at(port, folder.path()).await else { return };
        server.restart_with(named).await;
        let qdrant = Qdrant::new(&engine.url).expect("a client");
        let memories = server.store().memories(None, 10).await.expect("an answer");
        assert_eq!(memories.len(), 2);
        let memory = memories.into_iter().find(|it| it.incident == first.0).expect("the first");
        server
            .until("the first in Qdrant", async |_: &TestServer| {
                let near = qdrant.near(&memory.model, second.0, &memory.vector, 5).await.ok()?;
                near.iter().any(|near| near.incident == first.0 && near.distance < 1e-3).then_some(())
            })
            .await;
        // It is the one who is asked: what it alone says is shown.
        let kept = memory.features[..1].to_vec();
        qdrant.put(&[Remembered { features: kept, ..memory.clone() }]).await.expect("stored");
        let shared =
            |said: &str| said.split("Shared:").nth(1).map_or(0, |rest| rest.matches(", ").count() + 1);
        let by_qdrant = similar(server, second).await.expect("the first");
        assert_eq!((shared(&by_qdrant), shared(&by_store) > 1), (1, true), "{by_qdrant} {by_store}");

        // When it goes away, the store answers again.
        drop(engine);
        assert_eq!(similar(server, second).await, Some(by_store));
    })
    .await;
}
