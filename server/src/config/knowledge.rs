//! What is known beside the telemetry: failure patterns of one's own, and how past incidents are compared.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Failure patterns and runbooks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Knowledge {
    /// A folder of `.md` files with front matter, such as a Git checkout; those in it win over the built-in ones of the same name.
    pub folder: Option<PathBuf>,
}

/// How incidents are compared with past ones: by words, unless a model of embedding is named.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Where `/embeddings` of OpenAI's form is, as `http://localhost:11434/v1`.
    pub embeddings_url: Option<String>,
    /// Name of the model of embedding.
    pub embeddings_model: String,
    /// Environment variable that holds its key; servers of one's own may want none.
    pub key_env: String,
}

impl Default for Memory {
    fn default() -> Self {
        Self { embeddings_url: None, embeddings_model: String::new(), key_env: "INQUEST_MODEL_KEY".into() }
    }
}
