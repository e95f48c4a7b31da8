//! Settings, as far as they are shown: channels of notifications, and what could not be sent.

use domain::text::plain;
use serde::Serialize;

use super::input::Top;
use super::templates::render;
use super::words::{Shell, encode, plural};
use crate::brief;
use crate::config::Target;
use crate::notify::Notifier;

#[derive(Serialize)]
struct View {
    shell: Shell,
    title: String,
    said: String,
    channels: Vec<Channel>,
    letters: Vec<Letter>,
}

#[derive(Serialize)]
struct Channel {
    name: String,
    path: String,
    kind: &'static str,
    severity: &'static str,
    services: String,
    alerts: &'static str,
    sent: usize,
}

#[derive(Serialize)]
struct Letter {
    id: String,
    at: String,
    channel: String,
    title: String,
    error: String,
}

/// Draws the page.
pub(super) fn page(notifier: &Notifier, said: &str, top: &Top) -> String {
    let channels = notifier.channels().iter().map(|channel| Channel {
        name: plain(&channel.name, 60),
        path: encode(&channel.name),
        kind: match channel.target {
            Target::Slack { .. } => "Slack",
            Target::Teams { .. } => "Microsoft Teams",
            Target::Pagerduty { .. } => "PagerDuty",
            Target::Opsgenie { .. } => "Opsgenie",
            Target::Webhook { .. } => "Webhook",
        },
        severity: brief::severity(channel.severity),
        services: channel.services.as_ref().map_or("*".into(), |glob| plain(glob.as_str(), 80)),
        alerts: if channel.alerts { "yes" } else { "no" },
        sent: notifier.sent_to(&channel.name),
    });
    let channels: Vec<Channel> = channels.collect();
    let letters = notifier.letters().into_iter().map(|letter| Letter {
        id: letter.id,
        at: letter.at.to_timestamp().strftime("%-d %b %H:%M:%S").to_string(),
        channel: plain(&letter.channel, 60),
        title: plain(&format!("{} {}", letter.news.subject, letter.news.title), 120),
        error: plain(&letter.error, 160),
    });
    let shell = Shell::new("Settings", "settings", top);
    let title = match channels.len() {
        0 => "News go nowhere yet".into(),
        many => format!("News go to {}", plural(many, "channel", "channels")),
    };
    render(
        "settings.html",
        &View { shell, title, said: plain(said, 200), channels, letters: letters.collect() },
    )
}
