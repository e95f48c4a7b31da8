//! `inquest recording`: incidents as folders that can be passed on, investigated again and scored.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use domain::{Clock as _, IncidentId, UnixNanos, Window};
use storage::Store;
use storage::recording::{self, Recording};

use crate::cli::{DEFAULT_SERVER, ExportArgs, ImportArgs, RecordingCommand};
use crate::clock::SystemClock;
use crate::export::{self, Plan};
use crate::incidents::Incidents;
use crate::investigate::DEFAULT_SINCE;
use crate::metrics::IncidentMetrics;
use crate::web::export::ExportRequest;
use crate::{command, output, serve, why};

/// Longest that a server may be silent while it sends a recording.
const READ_TIMEOUT: Duration = Duration::from_secs(300);

/// Runs the command.
pub async fn run(command: &RecordingCommand) -> anyhow::Result<()> {
    match command {
        RecordingCommand::Export(arguments) => export(arguments).await,
        RecordingCommand::Import(arguments) => import(arguments).await,
        RecordingCommand::Show { dir } => show(dir),
    }
}

async fn export(arguments: &ExportArgs) -> anyhow::Result<()> {
    let out = &arguments.out;
    let taken = out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) || out.is_file();
    anyhow::ensure!(!taken, "{} exists already and is not an empty folder", out.display());
    let store = &arguments.store;
    let named = store.data.is_some() || store.clickhouse.is_some() || store.config.is_some();
    match &arguments.server {
        None if named => export_from_store(arguments).await?,
        server => download(server.as_deref().unwrap_or(DEFAULT_SERVER), arguments).await?,
    }
    output::line(&summary(&recording::read(out)?));
    Ok(())
}

async fn export_from_store(arguments: &ExportArgs) -> anyhow::Result<()> {
    let store = serve::open(&command::store_config(&arguments.store)?).await?;
    let outcome = write(&store, arguments).await;
    store.close().await.context("cannot close the store")?;
    outcome
}

async fn write(store: &Store, arguments: &ExportArgs) -> anyhow::Result<()> {
    let plan = plan(store, arguments).await?;
    recording::export(store, &arguments.out, &plan.meta, plan.window)
        .await
        .context("cannot write the recording")?;
    Ok(())
}

async fn plan(store: &Store, arguments: &ExportArgs) -> anyhow::Result<Plan> {
    let now = SystemClock.now();
    if let Some(name) = &arguments.incident {
        let incidents =
            Incidents::load(store.clone(), SystemClock::shared(), IncidentMetrics::default()).await?;
        let incident = IncidentId::parse(name).and_then(|id| incidents.get(id));
        return Ok(export::of_incident(
            &incident.with_context(|| format!("there is no incident {name}"))?,
            now,
        ));
    }
    let at = match &arguments.at {
        Some(text) => UnixNanos::parse(text).with_context(|| format!("`{text}` is no time"))?,
        None => now,
    };
    let since = arguments.since.map_or(DEFAULT_SINCE, |since| since.0);
    Ok(export::of_window(Window::new(at.minus(since), at), arguments.service.clone()))
}

async fn download(server: &str, arguments: &ExportArgs) -> anyhow::Result<()> {
    let request = ExportRequest {
        incident: arguments.incident.clone(),
        service: arguments.service.clone(),
        at: arguments.at.clone(),
        since: arguments.since.map(|since| since.to_string()),
    };
    let client = reqwest::Client::builder().read_timeout(READ_TIMEOUT).build()?;
    let response = client
        .post(format!("{}/api/v1/recording", server.trim_end_matches('/')))
        .json(&request)
        .send()
        .await
        .with_context(|| format!("cannot reach {server} (is `inquest serve` running?)"))?;
    let mut response = why::accepted(response).await?;
    let mut packed = tempfile::tempfile().context("cannot make a file for the recording")?;
    while let Some(bytes) = response.chunk().await.context("the recording broke off")? {
        packed.write_all(&bytes).context("cannot keep the recording")?;
    }
    unpack(packed, &arguments.out)
}

fn unpack(mut packed: std::fs::File, out: &Path) -> anyhow::Result<()> {
    use std::io::{Seek as _, SeekFrom};
    packed.seek(SeekFrom::Start(0)).context("cannot read what the server sent")?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    tar::Archive::new(packed).unpack(out).with_context(|| format!("cannot unpack into {}", out.display()))
}

async fn import(arguments: &ImportArgs) -> anyhow::Result<()> {
    let store = serve::open(&command::store_config(&arguments.store)?).await?;
    let outcome = recording::load(&store, &arguments.dir).await.context("cannot read the recording");
    store.close().await.context("cannot close the store")?;
    output::line(&summary(&outcome?));
    Ok(())
}

fn show(dir: &Path) -> anyhow::Result<()> {
    output::line(&summary(&recording::read(dir)?));
    Ok(())
}

/// What a recording holds, for a person.
fn summary(recording: &Recording) -> String {
    let Recording { dir, meta, changes, alerts, edges, notes } = recording;
    let plain = |text: &str| domain::text::plain(text, 200);
    let span = |window: &Window| format!("{} to {}", window.start, window.end);
    let mut lines = vec![
        format!("{} ({}), in {}", plain(&meta.id), plain(&meta.system), dir.display()),
        format!("symptom   {}", plain(&meta.symptom)),
        format!(
            "impacted  {}",
            meta.impacted_service.as_deref().map_or_else(|| "not said".to_owned(), plain)
        ),
        format!("detected  {}", meta.detected_at),
        format!("window    {}", meta.window.as_ref().map_or_else(|| "not said".to_owned(), span)),
        format!("baseline  {}", meta.baseline.as_ref().map_or_else(|| "not said".to_owned(), span)),
        format!("changes   {}; alerts {}; call edges {}", changes.len(), alerts.len(), edges.len()),
    ];
    for file in ["spans", "logs", "metrics", "profiles"] {
        let size = std::fs::metadata(dir.join(format!("{file}.parquet"))).map(|metadata| metadata.len());
        lines.push(match size {
            Ok(bytes) => format!("{file:9} {}", domain::text::bytes(bytes as f64)),
            Err(_) => format!("{file:9} none"),
        });
    }
    lines.extend(notes.iter().map(|note| format!("note      {}", plain(note))));
    lines.join("\n")
}
