//! Storing batches: one insert per table, the tables at the same time.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use clickhouse::{Client, Row, RowWrite};
use domain::{Batch, Sample, Series};

use crate::Store;
use crate::error::Error;
use crate::rows::{ChangeRow, LogRow, ProfileRow, SampleRow, SeriesRow, SpanRow};

/// Series remembered as described. When full, all are forgotten and described again as they come.
const MAX_SEEN_SERIES: usize = 1 << 20;

/// Series that this process has described in `metric_series`.
#[derive(Default)]
pub(crate) struct SeenSeries(HashSet<u64>);

impl Store {
    /// Stores a batch. When this returns, all of it is stored; when it fails, any part may be.
    pub async fn append(&self, batch: &Batch) -> Result<(), Error> {
        let client = self.writer();
        let logs = batch.logs.iter().map(|log| (log.severity_number, log.body.as_str()));
        let patterns = self.inner.patterns.of(logs);
        self.inner.patterns.append(&client).await?;
        let logs = batch.logs.iter().zip(&patterns).map(|(log, pattern)| LogRow::new(log, *pattern));
        tokio::try_join!(
            write::<SpanRow<'_>>(&client, "otel_traces", batch.spans.iter().map(SpanRow::from)),
            write::<LogRow<'_>>(&client, "otel_logs", logs),
            self.append_samples(&client, &batch.samples),
            write::<ProfileRow<'_>>(&client, "profiles", batch.profiles.iter().map(ProfileRow::from)),
            write::<ChangeRow<'_>>(&client, "changes", batch.changes.iter().map(ChangeRow::from)),
        )?;
        Ok(())
    }

    async fn append_samples(&self, client: &Client, samples: &[Sample]) -> Result<(), Error> {
        // Samples of one sender share their series, and hashing one takes longer than looking at its address.
        let mut ids: HashMap<*const Series, u64> = HashMap::new();
        let ids: Vec<u64> = samples
            .iter()
            .map(|sample| *ids.entry(Arc::as_ptr(&sample.series)).or_insert_with(|| sample.series.id().0))
            .collect();
        let new = self.unseen(ids.iter().copied().zip(samples.iter().map(|sample| &*sample.series)));
        // Described first: a sample without a series is invisible, a series without samples does no harm.
        write::<SeriesRow<'_>>(
            client,
            "metric_series",
            new.iter().map(|(id, series)| SeriesRow::new(*id, series)),
        )
        .await?;
        let rows = ids.iter().zip(samples).map(|(id, sample)| SampleRow::new(*id, sample));
        write::<SampleRow>(client, "metric_samples", rows).await?;
        let mut seen = self.inner.seen_series.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0.len() + new.len() > MAX_SEEN_SERIES {
            seen.0.clear();
        }
        seen.0.extend(new.iter().map(|(id, _)| *id));
        Ok(())
    }

    fn unseen<'a>(&self, series: impl Iterator<Item = (u64, &'a Series)>) -> Vec<(u64, &'a Series)> {
        let seen = self.inner.seen_series.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = HashSet::new();
        series.filter(|(id, _)| !seen.0.contains(id) && new.insert(*id)).collect()
    }

    /// The client with the settings of inserts: stored when it returns, and however old the rows are.
    pub(crate) fn writer(&self) -> Client {
        self.client()
            .clone()
            .with_setting("async_insert", "0")
            .with_setting("max_partitions_per_insert_block", "0")
    }
}

/// Writes rows as one insert; none when there are none.
pub(crate) async fn write<'a, R>(
    client: &Client,
    table: &str,
    rows: impl Iterator<Item = R::Value<'a>>,
) -> Result<(), Error>
where
    R: Row + RowWrite,
{
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    let mut insert = client.insert::<R>(table).await?;
    for row in rows {
        insert.write(&row).await?;
    }
    Ok(insert.end().await?)
}
