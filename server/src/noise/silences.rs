//! Approved suppressions as silences of Alertmanager.
//!
//! A silenced alert reaches nobody, Inquest included: nothing that arrives can bring it back. So it is asked again and again whether it
//! should be heard, as far as that can be known without it; while it should, there is no silence, and what then arrives is judged as ever.
//! Deliberately absent: spikes and new places of what is silenced, which nobody tells.

use std::time::Duration;

use anyhow::Context as _;
use detectors::suppression::{Approval, never};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Around, Group, Noise, SILENCES, Silence, SilenceChange, alertmanager};

/// How often it is asked which alerts should be heard, and how often what Alertmanager did not take is tried again.
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
            let wanted = self.silences_to_change().await.unwrap_or_else(|error| {
                tracing::warn!(error = format!("{error:#}"), "cannot ask which alerts should be heard");
                Vec::new()
            });
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

    /// What Alertmanager has to be told, in the order of fingerprints.
    pub(super) async fn silences_to_change(&self) -> anyhow::Result<Vec<(String, SilenceChange)>> {
        let around = self.around().await?;
        Ok(self.book().silences_to_change(|group, approval| self.may_be_silent(group, approval, &around)))
    }

    /// Whether nothing that is known without the alert asks for it to be heard: the end of its approval, or a rule, of which one is that
    /// its service takes part in an incident.
    fn may_be_silent(&self, group: &Group, approval: &Approval, around: &Around) -> bool {
        let context = around.context(group, &self.shared.settings.protected);
        let rulings = never::rule(&group.alert, &context);
        around.now < approval.expires && never::forbids(&rulings).is_none()
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
