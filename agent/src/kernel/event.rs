//! Events as they come out of the ring buffer, checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use agent_events::{EVENT_BYTES, PAYLOAD_BYTES};

/// Bytes that are not an event.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EventError {
    /// Shorter than an event is.
    #[error("an event of {0} bytes is too short")]
    Short(usize),
    /// It claims more payload than came with it.
    #[error("an event claims {claimed} bytes of payload and brings {present}")]
    Payload {
        /// What it says.
        claimed: usize,
        /// What there is.
        present: usize,
    },
}

/// One event. Numbers are those of [`agent_events`].
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// One of [`agent_events::kind`].
    pub kind: u8,
    /// One of [`agent_events::direction`].
    pub direction: u8,
    /// Bits of [`agent_events::flag`].
    pub flags: u8,
    /// One of [`agent_events::role`].
    pub role: u8,
    /// Transport: 6 or 17.
    pub protocol: u16,
    /// Process; 0 where it is not known.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Nanoseconds of the monotonic clock.
    pub time_ns: u64,
    /// Which socket, while it lasts.
    pub socket: u64,
    /// Bytes that the call moved.
    pub total: u32,
    /// Network namespace.
    pub netns: u32,
    /// This end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// By kind.
    pub extra: [u64; 3],
    /// The head of what was moved.
    pub payload: &'a [u8],
}

impl<'a> Event<'a> {
    /// Reads one record of the ring buffer. The field places are those of `agent_events::Event`, which is `repr(C)`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EventError> {
        if bytes.len() < EVENT_BYTES {
            return Err(EventError::Short(bytes.len()));
        }
        let (head, rest) = bytes.split_at(EVENT_BYTES);
        let family = half(head, 4);
        let claimed = word(head, 36) as usize;
        let payload = rest
            .get(..claimed.min(PAYLOAD_BYTES))
            .ok_or(EventError::Payload { claimed, present: rest.len() })?;
        Ok(Self {
            kind: head[0],
            direction: head[1],
            flags: head[2],
            role: head[3],
            protocol: half(head, 6),
            pid: word(head, 8),
            tid: word(head, 12),
            time_ns: long(head, 16),
            socket: long(head, 24),
            total: word(head, 32),
            netns: word(head, 44),
            local: SocketAddr::new(address(family, &head[48..64]), half(head, 40)),
            remote: SocketAddr::new(address(family, &head[64..80]), half(head, 42)),
            extra: [long(head, 80), long(head, 88), long(head, 96)],
            payload,
        })
    }
}

/// When a record was made, without the rest of it; 0 for one that is too short.
pub(super) fn time_ns(bytes: &[u8]) -> u64 {
    if bytes.len() < EVENT_BYTES { 0 } else { long(bytes, 16) }
}

/// IPv4 in IPv6 clothes is shown as IPv4: it is the same peer.
fn address(family: u16, bytes: &[u8]) -> IpAddr {
    let mut all = [0; 16];
    all.copy_from_slice(bytes);
    if family == 10 {
        Ipv6Addr::from(all).to_canonical()
    } else {
        Ipv4Addr::new(all[0], all[1], all[2], all[3]).into()
    }
}

fn half(bytes: &[u8], place: usize) -> u16 {
    u16::from_ne_bytes([bytes[place], bytes[place + 1]])
}

fn word(bytes: &[u8], place: usize) -> u32 {
    u32::from_ne_bytes([bytes[place], bytes[place + 1], bytes[place + 2], bytes[place + 3]])
}

fn long(bytes: &[u8], place: usize) -> u64 {
    let mut all = [0; 8];
    all.copy_from_slice(&bytes[place..place + 8]);
    u64::from_ne_bytes(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_layout() {
        use std::mem::offset_of;
        type Raw = agent_events::Event;
        assert_eq!(
            [
                offset_of!(Raw, family),
                offset_of!(Raw, protocol),
                offset_of!(Raw, pid),
                offset_of!(Raw, time_ns),
                offset_of!(Raw, socket),
                offset_of!(Raw, total),
                offset_of!(Raw, captured),
                offset_of!(Raw, local_port),
                offset_of!(Raw, remote_port),
                offset_of!(Raw, netns),
                offset_of!(Raw, local),
                offset_of!(Raw, remote),
                offset_of!(Raw, extra),
                EVENT_BYTES,
            ],
            [4, 6, 8, 16, 24, 32, 36, 40, 42, 44, 48, 64, 80, 104]
        );
    }

    #[test]
    fn damage_is_an_error() {
        assert_eq!(Event::parse(&[0; 10]).unwrap_err(), EventError::Short(10));
        let mut bytes = vec![0; EVENT_BYTES];
        bytes[36] = 3;
        assert_eq!(Event::parse(&bytes).unwrap_err(), EventError::Payload { claimed: 3, present: 0 });
        bytes.extend(*b"abc ");
        assert_eq!(Event::parse(&bytes).expect("an event").payload, b"abc");
    }
}
