//! A real server of models, llama.cpp's, with a model that makes everything up: tests/programs/model.py.

use std::path::{Path, PathBuf};
use std::time::Duration;

use eval::narrative::{self, HostileCase, Incident};
use server::config::{Config, Provider, Span};
use server::telling;

use crate::harness::{TestServer, Turn, serve_with};
use crate::incident::{break_payment, investigated};
use crate::programs::{Program, accepting, fetched, free_address, python, start_with};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The server of models; it ends with this.
struct Models {
    port: u16,
    _program: Program,
}

impl Models {
    /// `None`, and a word about it, where it was not fetched.
    async fn start(folder: &Path) -> Option<Self> {
        let (python, libraries) = (python()?, fetched("python", "xllamacpp")?);
        let path = ("PYTHONPATH", libraries.to_string_lossy().into_owned());
        let script = format!("{ROOT}/tests/programs/model.py");
        let mut texts: Vec<PathBuf> = std::fs::read_dir(format!("{ROOT}/knowledge/patterns"))
            .expect("our own texts")
            .map(|entry| entry.expect("a file").path())
            .collect();
        texts.sort();
        // Embeddings are at the port behind.
        let port = free_address().port();
        let (port_text, folder_text) = (port.to_string(), folder.to_string_lossy());
        let mut arguments = vec![script.as_str(), &port_text, &folder_text];
        arguments.extend(texts.iter().filter_map(|path| path.to_str()));
        let program = start_with(folder, &[path], &python, &arguments);
        for port in [port, port + 1] {
            accepting(port).await;
        }
        Some(Self { port, _program: program })
    }

    fn configure(&self, config: &mut Config) {
        config.narrator.provider = Provider::OpenAi;
        config.narrator.base_url = Some(format!("http://127.0.0.1:{}/v1", self.port));
        config.narrator.model = "words".into();
        config.narrator.timeout = Span(Duration::from_secs(30));
        config.memory.embeddings_url = Some(format!("http://127.0.0.1:{}/v1", self.port + 1));
        config.memory.embeddings_model = "words".into();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_makes_everything_up_is_held_to_the_evidence() {
    let _turn = Turn::take().await;
    let folder = tempfile::tempdir().expect("a folder");
    let Some(models) = Models::start(folder.path()).await else { return };
    let mut config = Config::default();
    models.configure(&mut config);
    let began = tokio::time::Instant::now();
    let recording = PathBuf::from(ROOT).join("eval/recordings/shop-database-lock");
    let seen = eval::case::investigate(&recording, || began.elapsed()).await.expect("an investigation");
    let incident = Incident { id: "shop-database-lock".into(), diagnosis: seen.report.diagnosis };
    let model = telling::model(&config.narrator).expect("settings").expect("a model");
    let live = Some((model, telling::bounds(&config.narrator)));
    // As many as fit into a test: `inquest eval narrative --live` asks all of them.
    let hostile: Vec<HostileCase> = HostileCase::all().expect("cases").into_iter().step_by(6).collect();
    let run = narrative::run(&[incident], Path::new("none"), &hostile, live).await.expect("a run");
    eprintln!("{:#?}", run.summary);
    assert!(run.is_clean(), "{}", run.json().expect("JSON"));
    assert_eq!(run.summary.cases, 1 + hostile.len());
    assert!(run.summary.tokens > 10_000, "it was asked: {:?}", run.summary);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_whole_with_a_model_that_makes_everything_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(models) = Models::start(folder.path()).await else { return };
    serve_with(
        |config| models.configure(config),
        async |server: &mut TestServer| {
            break_payment(server).await;
            let incident = investigated(server).await;
            assert_eq!(incident.root_service, "payment");
            // The model was heard, and noted in the ledger.
            let asked = server.until("the model", async |server: &TestServer| {
                let ledger = server.store().journal_read("model").await.expect("an answer");
                ledger.into_iter().next()
            });
            let used = asked.await.body;
            eprintln!("{used}");
            let (status, page) = server.get(&format!("/incidents/{}", incident.id)).await;
            assert_eq!(status, 200);
            assert!(page.contains("Most likely cause") && page.contains("payment"), "{page}");
            // Its vectors are another thing than ours, and kept beside them.
            let memories = server.store().memories(None, 10).await.expect("an answer");
            let of_model = memories.iter().find(|memory| memory.model == "words").expect("its vector");
            assert_eq!((of_model.incident, of_model.vector.len()), (incident.id.0, 64));
            assert!(memories.iter().any(|memory| memory.model != "words"));
        },
    )
    .await;
}
