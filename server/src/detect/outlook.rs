//! What detection last saw, for the pages and the API.

use std::sync::Arc;

use domain::{Finding, UnixNanos};
use storage::questions::requests::Wait;
use tokio::sync::watch;

/// The outcome of the latest round.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// When it was; `None` before the first.
    pub at: Option<UnixNanos>,
    /// Everything that was found, those that open incidents and those that do not, worst first.
    pub findings: Vec<Finding>,
    /// Endpoints that wait by design.
    pub waits: Vec<Wait>,
}

/// Hands the latest outlook to whoever asks. Cheap to clone.
pub type Outlooks = watch::Receiver<Arc<Outlook>>;
