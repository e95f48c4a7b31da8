//! Profiles on the wire: the message of Inquest's own endpoint, `/inquest.profiles.v1.ProfilesService/Export`.

use std::collections::HashMap;

use domain::UnixNanos;
use prost::Message;

use super::Minute;
use crate::export::otlp::Host;
use crate::identity::Service;

const KIND: &str = "cpu:nanoseconds";

/// Bytes after which a message is closed: Inquest takes four megabytes, and what is added last is small.
const MESSAGE_BYTES: usize = 3 << 20;
/// Bytes of names, each as often as it is used, after which a message is closed: Inquest takes 64 megabytes, to which it unfolds them.
const MESSAGE_TEXT: usize = 32 << 20;
/// Bytes of the number of a string, or of a length, at most.
const PLACE_BYTES: usize = 5;
/// Bytes of a stack without its frames, at most.
const STACK_BYTES: usize = 24;

#[derive(Clone, PartialEq, Message)]
struct ExportProfiles {
    #[prost(string, repeated, tag = "1")]
    strings: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    profiles: Vec<Profile>,
}

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(uint32, tag = "1")]
    service: u32,
    #[prost(uint32, repeated, tag = "2")]
    attributes: Vec<u32>,
    #[prost(uint32, tag = "3")]
    kind: u32,
    #[prost(fixed64, tag = "4")]
    at: u64,
    #[prost(message, repeated, tag = "5")]
    stacks: Vec<Stack>,
}

#[derive(Clone, PartialEq, Message)]
struct Stack {
    #[prost(uint32, repeated, tag = "1")]
    frames: Vec<u32>,
    #[prost(int64, tag = "2")]
    value: i64,
}

/// Each string once.
#[derive(Default)]
struct Strings {
    list: Vec<String>,
    places: HashMap<String, u32>,
}

impl Strings {
    fn place(&mut self, text: &str) -> u32 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.list.len() as u32;
        self.list.push(text.to_owned());
        self.places.insert(text.to_owned(), place);
        place
    }
}

/// A message that is being put together.
#[derive(Default)]
struct Open {
    strings: Strings,
    profiles: Vec<Profile>,
    /// Bytes of the message so far, at most.
    bytes: usize,
    /// Bytes of names that it stands for, each as often as it is used.
    text: usize,
}

impl Open {
    fn is_full(&self) -> bool {
        self.bytes >= MESSAGE_BYTES || self.text >= MESSAGE_TEXT
    }

    fn begin(&mut self, host: &Host, service: &Service, now: UnixNanos) {
        let named = [("host.name", host.name.as_str())];
        let attributes = named
            .into_iter()
            .chain(service.attributes.iter().map(|(key, value)| (*key, value.as_str())))
            .flat_map(|(key, value)| [key, value])
            .map(|text| self.place(text))
            .collect();
        let profile = Profile {
            service: self.place(&service.name),
            attributes,
            kind: self.place(KIND),
            at: now.0.max(0).unsigned_abs(),
            stacks: Vec::new(),
        };
        self.profiles.push(profile);
    }

    /// Adds a stack to the profile that was begun last.
    fn add<'a>(&mut self, frames: impl Iterator<Item = &'a str>, value: i64) {
        let frames = frames.map(|frame| self.place(frame)).collect();
        self.bytes += STACK_BYTES;
        if let Some(profile) = self.profiles.last_mut() {
            profile.stacks.push(Stack { frames, value });
        }
    }

    fn place(&mut self, text: &str) -> u32 {
        let known = self.strings.list.len();
        let place = self.strings.place(text);
        self.bytes +=
            PLACE_BYTES + if self.strings.list.len() > known { PLACE_BYTES + text.len() } else { 0 };
        self.text += text.len();
        place
    }

    fn close(self) -> Vec<u8> {
        ExportProfiles { strings: self.strings.list, profiles: self.profiles }.encode_to_vec()
    }
}

/// The messages of one minute, each of a size that Inquest takes; each sample stands for `period_ns`.
pub(super) fn encode(host: &Host, minute: &Minute, period_ns: u64, now: UnixNanos) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut open = Open::default();
    for (service, stacks) in &minute.stacks {
        open.begin(host, service, now);
        for (frames, count) in stacks {
            if open.is_full() {
                messages.push(std::mem::take(&mut open).close());
                open.begin(host, service, now);
            }
            let frames = frames.iter().map(|frame| &*minute.names[*frame as usize]);
            open.add(frames, (count * period_ns).cast_signed());
        }
    }
    if !open.profiles.is_empty() {
        messages.push(open.close());
    }
    messages
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_busy_minute_goes_in_messages_that_are_taken() {
        let service = Arc::new(Service { name: "cart".into(), attributes: Vec::new() });
        let mut minute = Minute::default();
        for stack in 0..10_000 {
            let name = |frame: u32| Arc::from(format!("{:0>80}", frame * 7 + stack % 1_000));
            let frames: Vec<Arc<str>> =
                (0..60).map(name).chain([Arc::from(format!("leaf{stack}"))]).collect();
            minute.add(Arc::clone(&service), &frames, 1);
        }
        let host = Host { name: "h".into() };
        let messages = encode(&host, &minute, 10, UnixNanos(5));
        assert!(messages.len() > 1);
        assert!(messages.iter().all(|message| message.len() < 4 << 20));
        let taken: Vec<ExportProfiles> =
            messages.iter().map(|it| ExportProfiles::decode(it.as_slice()).expect("a message")).collect();
        let stacks = || taken.iter().flat_map(|it| &it.profiles).flat_map(|it| &it.stacks);
        assert_eq!(stacks().count(), 10_000);
        for message in &taken {
            let frames = message.profiles.iter().flat_map(|it| &it.stacks).flat_map(|it| &it.frames);
            let text: usize = frames.map(|frame| message.strings[*frame as usize].len()).sum();
            assert!(text < 64 << 20, "{text}");
        }
    }
}
