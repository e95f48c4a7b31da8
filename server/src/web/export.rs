//! A recording of an incident, or of a stretch of time, as one tar file.

use std::path::Path;

use anyhow::Context as _;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use domain::Window;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::io::ReaderStream;

use super::App;
use super::error::{self, Error};
use crate::config::Span;
use crate::export::{self, Plan};
use crate::investigate::DEFAULT_SINCE;

/// Each export reads a stretch of everything: one at a time is enough.
static ONE: Semaphore = Semaphore::const_new(1);

/// What to record: an incident, or the time before `at`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExportRequest {
    /// `INC-0142`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// The service that the recording is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The end of the stretch; now, when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Its length; an hour, when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// `POST /api/v1/recording`.
pub async fn download(
    State(app): State<App>,
    request: Result<Json<ExportRequest>, JsonRejection>,
) -> Result<Response, Error> {
    let request = error::body(request)?;
    let plan = plan(&app, &request)?;
    let label = match &request.incident {
        Some(id) => crate::memory::label(&super::incidents::find(&app, id)?),
        None => None,
    };
    packed(&app, &plan, label).await
}

/// A recording as one tar file, with its label when there is one.
pub(super) async fn packed(
    app: &App,
    plan: &Plan,
    label: Option<serde_json::Value>,
) -> Result<Response, Error> {
    let _place = ONE.acquire().await?;
    let folder = tempfile::tempdir().context("cannot make a folder for the recording")?;
    storage::recording::export(&app.store, folder.path(), &plan.meta, plan.window).await?;
    if let Some(label) = label {
        let text = serde_json::to_string_pretty(&label).context("a label does not serialise")?;
        std::fs::write(folder.path().join("label.json"), text).context("cannot write the label")?;
    }
    let packed = tokio::task::spawn_blocking(move || pack(folder.path())).await??;
    let stream = ReaderStream::new(tokio::fs::File::from_std(packed));
    Ok(([(header::CONTENT_TYPE, "application/x-tar")], Body::from_stream(stream)).into_response())
}

fn plan(app: &App, request: &ExportRequest) -> Result<Plan, Error> {
    let now = app.clock.now();
    if let Some(id) = &request.incident {
        return Ok(export::of_incident(&super::incidents::find(app, id)?, now));
    }
    let at = request.at.as_deref().map(super::api::instant).transpose()?.unwrap_or(now);
    let since = match &request.since {
        Some(since) => {
            since.parse::<Span>().map_err(|error| Error::bad_request(format!("`since`: {error}")))?.0
        }
        None => DEFAULT_SINCE,
    };
    Ok(export::of_window(Window::new(at.minus(since), at), request.service.clone()))
}

/// A tar file without a name, at its beginning.
fn pack(folder: &Path) -> anyhow::Result<std::fs::File> {
    use std::io::{Seek as _, SeekFrom};
    let file = tempfile::tempfile().context("cannot make a file for the recording")?;
    let mut archive = tar::Builder::new(file);
    archive.append_dir_all(".", folder).context("cannot pack the recording")?;
    let mut file = archive.into_inner().context("cannot pack the recording")?;
    file.seek(SeekFrom::Start(0)).context("cannot read the packed recording")?;
    Ok(file)
}
