//! Approved suppressions as silences of Alertmanager.
//!
//! A silenced alert reaches nobody, Inquest included: nothing that arrives can bring it back. So what would is asked again and again, as
//! far as it can be known without the alert. Deliberately absent: spikes and new places of what is silenced, which nobody tells.

use std::time::Duration;

use anyhow::Context as _;
use detectors::suppression::{Event, Reopening, Source, never, policy};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{INQUEST, Noise, SILENCES, Silence, SilenceChange, alertmanager};

/// How often it is asked what would bring silenced alerts back, and how often what Alertmanager did not take is tried again.
const AGAIN: Duration = Duration::from_secs(60);

impl Noise {
    /// Keeps the silences at Alertmanager in line with what stands, until `stop`: on a clock of its own, because a slow
    /// Alertmanager must hold up neither detection nor who decides. What it did not take is tried again.
    pub async fn keep_silences(self, stop: CancellationToken) {
        let Some(silencer) = &self.shared.silencer else { return };
        let mut ticks = tokio::time::interval(AGAIN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
                () = self.shared.decided.notified() => {}
            }
            if let Err(error) = self.reopen_silenced().await {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "cannot ask what would bring silenced alerts back"
                );
            }
            let wanted = self.book().silences_to_change();
            for (fingerprint, change) in wanted {
                let changed = tokio::select! {
                    () = stop.cancelled() => return,
                    changed = self.change_silence(silencer, &fingerprint, &change) => changed,
                };
                if let Err(error) = changed {
                    tracing::warn!(
                        fingerprint,
                        error = format!("{error:#}"),
                        "cannot tell Alertmanager of a silence"
                    );
                    // One that is refused does not stand in the way of the others; an Alertmanager that is away does.
                    if alertmanager::is_away(&error) {
                        break;
                    }
                }
            }
        }
    }

    /// Brings back what is silenced and should be heard again: its approval is over, its service takes part in an incident, or a rule
    /// forbids it by now.
    pub(super) async fn reopen_silenced(&self) -> anyhow::Result<()> {
        let _order = self.shared.accepting.lock().await;
        let silenced = self.book().silenced();
        if silenced.is_empty() {
            return Ok(());
        }
        let around = self.around().await?;
        for (fingerprint, group, approval) in silenced {
            let context = around.context(&group, &self.shared.settings.protected);
            let rulings = never::rule(&group.alert, &context);
            let back = policy::is_over(&approval, context.incident.as_deref(), around.now).or_else(|| {
                never::forbids(&rulings).map(|ruling| Reopening::Rule { words: ruling.words.clone() })
            });
            if let Some(reopening) = back {
                self.note(&fingerprint, INQUEST, Source::Inquest, Event::Reopened(reopening)).await?;
            }
        }
        Ok(())
    }

    async fn change_silence(
        &self,
        silencer: &alertmanager::Silencer,
        fingerprint: &str,
        change: &SilenceChange,
    ) -> anyhow::Result<()> {
        let now = self.shared.clock.now();
        let silence = match change {
            SilenceChange::Begin(alert, approval) => {
                Silence { id: silencer.create(alert, approval, now).await?, ends: Some(approval.expires) }
            }
            SilenceChange::End(id) => {
                silencer.end(id).await?;
                // What it held back may have to be held back otherwise.
                self.shared.decided.notify_one();
                Silence::default()
            }
        };
        let body = serde_json::to_value(&silence)?;
        let noted = self.shared.store.journal_append(now, SILENCES, fingerprint, &body).await;
        // What Alertmanager knows is so, whether it could be noted or not.
        self.book().set_silence(fingerprint, silence);
        noted.context("cannot note a silence in the journal")?;
        Ok(())
    }
}
