//! Tells a change endpoint what was deployed or switched, as a pipeline would.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use serde::Serialize;

use crate::call::{HttpClient, http_client};

const POST_LIMIT: Duration = Duration::from_secs(2);

/// A change, in the words of the endpoint.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Change {
    pub kind: &'static str,
    pub service: &'static str,
    pub version: &'static str,
    pub previous: &'static str,
    pub reference: String,
    pub detail: &'static str,
}

impl Change {
    pub fn deploy(
        service: &'static str,
        version: &'static str,
        previous: &'static str,
        detail: &'static str,
    ) -> Self {
        let reference = format!("deploy-{service}-{version}");
        Self { kind: "deploy", service, version, previous, reference, detail }
    }

    pub fn flag(service: &'static str, key: &str, detail: &'static str) -> Self {
        Self { kind: "flag", service, version: "on", previous: "off", reference: key.to_owned(), detail }
    }
}

/// The endpoint, if there is one.
pub(crate) struct Changes {
    endpoint: Option<String>,
    client: HttpClient,
}

impl Changes {
    /// `endpoint` is plain `http`.
    pub fn new(endpoint: Option<String>) -> Self {
        Self { endpoint, client: http_client() }
    }

    /// Posts the change; does nothing without an endpoint.
    pub async fn post(&self, change: &Change) -> anyhow::Result<()> {
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        let request = Request::post(endpoint)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(serde_json::to_vec(change)?)))
            .with_context(|| format!("failed to form a request to {endpoint}"))?;
        let response = tokio::time::timeout(POST_LIMIT, self.client.request(request))
            .await
            .with_context(|| format!("no answer from {endpoint} within {} ms", POST_LIMIT.as_millis()))?
            .with_context(|| format!("failed to reach {endpoint}"))?;
        if !response.status().is_success() {
            bail!("{endpoint} answered {}", response.status());
        }
        Ok(())
    }
}
