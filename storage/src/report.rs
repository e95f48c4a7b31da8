//! Finished reports, one per run of an investigation.

use domain::UnixNanos;

use crate::Store;
use crate::append::write;
use crate::error::Error;
use crate::rows::ReportRow;

impl Store {
    /// Stores a report. A later one of the same run takes its place.
    pub async fn report_put(
        &self,
        incident: u32,
        run: u32,
        at: UnixNanos,
        report_json: &str,
    ) -> Result<(), Error> {
        let row = ReportRow { incident, run, timestamp: at.0, body: report_json };
        write::<ReportRow<'_>>(&self.writer(), "reports", std::iter::once(row)).await
    }

    /// A report as it was put: that of `run`, or of the latest.
    pub async fn report_get(&self, incident: u32, run: Option<u32>) -> Result<Option<String>, Error> {
        let query = self
            .client()
            .query(
                "SELECT Body FROM reports WHERE Incident = ? AND (? OR Run = ?)
                 ORDER BY Run DESC, Timestamp DESC LIMIT 1",
            )
            .bind(incident)
            .bind(run.is_none())
            .bind(run.unwrap_or_default());
        Ok(query.fetch_optional().await?)
    }
}
