//! The checks of a running investigation, as they tick: server-sent events.
//!
//! An unnamed event carries the whole list as a fragment of the page, so that a reader who missed one misses nothing.
//! When no investigation runs any more, one event named `done` follows and the stream ends.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use domain::IncidentId;
use futures::Stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::App;
use super::error::Error;
use crate::pages;

/// Ticks that come closer together than this are told as one.
const SETTLE: Duration = Duration::from_millis(50);

/// Longest that one stream lasts; the browser opens another.
const LONGEST: Duration = Duration::from_secs(600);

/// `GET /incidents/{id}/progress`.
pub async fn events(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Error> {
    let id = super::incidents::find(&app, &id)?.id;
    let announcements = app.incidents.subscribe();
    let listener = Listener { app, id, announcements, state: Turn::First, number: 0 };
    let stream = futures::stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok(event), listener))
    });
    Ok(Sse::new(futures::StreamExt::take_until(stream, Box::pin(tokio::time::sleep(LONGEST))))
        .keep_alive(KeepAlive::default()))
}

struct Listener {
    app: App,
    id: IncidentId,
    announcements: Receiver<IncidentId>,
    state: Turn,
    number: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Listening,
    Done,
}

impl Listener {
    async fn next(&mut self) -> Option<Event> {
        match self.state {
            Turn::Done => return None,
            Turn::First => self.state = Turn::Listening,
            Turn::Listening => self.changed().await?,
        }
        let checks = self.app.incidents.progress(self.id);
        self.number += 1;
        let event = Event::default().id(self.number.to_string());
        if checks.is_empty() {
            self.state = Turn::Done;
            return Some(event.event("done").data("done"));
        }
        // A line break would end the data: `data` splits it over several lines, which the reader joins again.
        Some(event.data(pages::render_progress(&checks)))
    }

    /// Waits for something to happen to the incident; `None` when the program stops.
    async fn changed(&mut self) -> Option<()> {
        loop {
            let heard = tokio::select! {
                () = self.app.draining.cancelled() => return None,
                heard = self.announcements.recv() => heard,
            };
            match heard {
                Ok(id) if id == self.id => break,
                Ok(_) => {}
                // Something was missed: look.
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return None,
            }
        }
        tokio::time::sleep(SETTLE).await;
        self.announcements = self.announcements.resubscribe();
        Some(())
    }
}
