//! Request bodies, read and unpacked within bounds.

use std::io::Read;

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use http_body_util::BodyExt;

use crate::budget::Reservation;
use crate::limits::Limits;
use crate::refusal::Refusal;

/// Reads a body as it comes, reserving what it takes.
pub(crate) async fn read(
    body: axum::body::Body,
    max_bytes: usize,
    limits: &Limits,
    reservation: &Reservation,
) -> Result<Bytes, Refusal> {
    tokio::time::timeout(limits.read_timeout, collect(body, max_bytes, reservation))
        .await
        .unwrap_or(Err(Refusal::Slow))
}

async fn collect(
    mut body: axum::body::Body,
    limit: usize,
    reservation: &Reservation,
) -> Result<Bytes, Refusal> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Malformed("body ended early".into()))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + whole.len() + data.len() > limit {
            return Err(Refusal::TooLarge { limit });
        }
        reservation.grow(data.len())?;
        // A body of one frame, the usual case, is not copied.
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// Whether the body is gzip; an error for any other encoding.
pub(crate) fn is_gzip(headers: &HeaderMap) -> Result<bool, Refusal> {
    let Some(encoding) = headers.get(http::header::CONTENT_ENCODING) else { return Ok(false) };
    match encoding.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "gzip" => Ok(true),
        "" | "identity" => Ok(false),
        found => Err(Refusal::ContentEncoding { found: domain::text::plain(found, 60) }),
    }
}

/// Unpacks gzip up to the limit; what would come after it is never produced.
pub(crate) fn gunzip(packed: &[u8], limit: usize, reservation: &Reservation) -> Result<Vec<u8>, Refusal> {
    const STEP: usize = 64 << 10;
    let mut reader = MultiGzDecoder::new(packed);
    let mut unpacked = Vec::new();
    loop {
        let before = unpacked.len();
        let read = reader.by_ref().take(STEP as u64).read_to_end(&mut unpacked);
        read.map_err(|error| Refusal::Malformed(format!("gzip: {error}")))?;
        let grown = unpacked.len() - before;
        if grown == 0 {
            return Ok(unpacked);
        }
        if unpacked.len() > limit {
            return Err(Refusal::TooLarge { limit });
        }
        reservation.grow(grown)?;
    }
}
