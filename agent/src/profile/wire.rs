//! Profiles on the wire: the message of Inquest's own endpoint, `/inquest.profiles.v1.ProfilesService/Export`.

use std::collections::HashMap;

use domain::UnixNanos;
use prost::Message;

use super::Minute;
use crate::export::otlp::Host;

const KIND: &str = "cpu:nanoseconds";

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

/// The message of one minute; each sample stands for `period_ns`.
pub(super) fn encode(host: &Host, minute: &Minute, period_ns: u64, now: UnixNanos) -> Vec<u8> {
    let mut strings = Strings::default();
    let profiles = minute
        .stacks
        .iter()
        .map(|(service, stacks)| {
            let named = [("host.name", host.name.as_str())];
            let attributes = named
                .into_iter()
                .chain(service.attributes.iter().map(|(key, value)| (*key, value.as_str())))
                .flat_map(|(key, value)| [key, value])
                .map(|text| strings.place(text))
                .collect();
            let stacks = stacks
                .iter()
                .map(|(frames, count)| Stack {
                    frames: frames
                        .iter()
                        .map(|frame| strings.place(&minute.names[*frame as usize]))
                        .collect(),
                    value: (count * period_ns).cast_signed(),
                })
                .collect();
            Profile {
                service: strings.place(&service.name),
                attributes,
                kind: strings.place(KIND),
                at: now.0.max(0).unsigned_abs(),
                stacks,
            }
        })
        .collect();
    ExportProfiles { strings: strings.list, profiles }.encode_to_vec()
}
