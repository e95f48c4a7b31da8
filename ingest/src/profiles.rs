//! Profiles, over gRPC: `/inquest.profiles.v1.ProfilesService/Export`, as `inquest-agent` sends them.
//!
//! OpenTelemetry's own profiles are still in development; this message says the little that is stored. Strings come once, stacks by
//! number. Items that make no sense, or would repeat too much, are dropped and counted in the answer.

use std::sync::Arc;

use domain::{Attributes, Batch, ProfileSample, UnixNanos};
use prost::Message;

use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::repeated::{Repeated, attribute_bytes};

/// The method, for the gRPC listener.
pub const METHOD: &str = "/inquest.profiles.v1.ProfilesService/Export";

/// Most bytes of a message: what is small on the wire may be ten times as large unfolded.
pub(crate) const MAX_BODY_BYTES: usize = 4 << 20;
/// Most bytes of text that a message may unfold to, as each string may be used many times.
const MAX_TEXT_BYTES: usize = 64 << 20;

/// Frames of one stack that are kept, from the root.
const MOST_FRAMES: usize = 256;

/// Profiles of some services.
#[derive(Clone, PartialEq, Message)]
pub struct ExportProfiles {
    /// Names of functions, attributes and kinds, each once.
    #[prost(string, repeated, tag = "1")]
    pub strings: Vec<String>,
    /// One for each service.
    #[prost(message, repeated, tag = "2")]
    pub profiles: Vec<Profile>,
}

/// The profile of one service.
#[derive(Clone, PartialEq, Message)]
pub struct Profile {
    /// `service.name`: a string.
    #[prost(uint32, tag = "1")]
    pub service: u32,
    /// Resource attributes: a string for the name, one for the value, and so on.
    #[prost(uint32, repeated, tag = "2")]
    pub attributes: Vec<u32>,
    /// What values count, such as `cpu:nanoseconds`: a string.
    #[prost(uint32, tag = "3")]
    pub kind: u32,
    /// When it was taken, nanoseconds since 1970.
    #[prost(fixed64, tag = "4")]
    pub at: u64,
    /// Its stacks.
    #[prost(message, repeated, tag = "5")]
    pub stacks: Vec<Stack>,
}

/// One stack.
#[derive(Clone, PartialEq, Message)]
pub struct Stack {
    /// Functions, root first: strings.
    #[prost(uint32, repeated, tag = "1")]
    pub frames: Vec<u32>,
    /// Amount.
    #[prost(int64, tag = "2")]
    pub value: i64,
}

/// What is said of a request that was taken.
#[derive(Clone, PartialEq, Message)]
pub struct Taken {
    /// Stacks that make no sense, or would repeat too much.
    #[prost(uint64, tag = "1")]
    pub rejected: u64,
}

/// The rows of a message, and how many stacks were not taken.
pub(crate) fn decode(body: &[u8], limits: &Limits, now: UnixNanos) -> Result<(Batch, u64), Refusal> {
    let request = ExportProfiles::decode(body).map_err(|error| Refusal::Malformed(error.to_string()))?;
    let stacks: usize = request.profiles.iter().map(|profile| profile.stacks.len()).sum();
    let frames: usize =
        request.profiles.iter().flat_map(|it| &it.stacks).map(|it| it.frames.len().min(MOST_FRAMES)).sum();
    if request.profiles.len() + stacks + frames > limits.max_elements {
        return Err(Refusal::TooManyElements { limit: limits.max_elements });
    }
    let length =
        |index: &u32| request.strings.get(*index as usize).map_or(0, String::len).min(limits.max_name_bytes);
    let text_bytes: usize =
        request.profiles.iter().flat_map(|it| &it.stacks).flat_map(|it| &it.frames).map(length).sum();
    if text_bytes > MAX_TEXT_BYTES {
        return Err(Refusal::TooManyElements { limit: limits.max_elements });
    }
    let mut batch = Batch::default();
    let mut rejected = 0;
    let mut repeated = Repeated::within(limits);
    for profile in &request.profiles {
        let text = |index: u32| -> Option<String> {
            let text = request.strings.get(index as usize)?;
            Some(text[..text.floor_char_boundary(limits.max_name_bytes.min(text.len()))].to_owned())
        };
        let pairs = profile.attributes.chunks_exact(2).take(limits.max_attributes);
        let resource: Attributes = pairs.filter_map(|pair| Some((text(pair[0])?, text(pair[1])?))).collect();
        let row_bytes = attribute_bytes(&resource) + length(&profile.service) + length(&profile.kind);
        let resource = Arc::new(resource);
        let at = i64::try_from(profile.at).map_or(now, UnixNanos).min(now);
        for stack in &profile.stacks {
            let frames: Option<Vec<String>> =
                stack.frames.iter().take(MOST_FRAMES).map(|index| text(*index)).collect();
            match (text(profile.service), text(profile.kind), frames) {
                (Some(service), Some(kind), Some(stack_of))
                    if stack.value > 0 && !stack_of.is_empty() && repeated.row(row_bytes).is_ok() =>
                {
                    batch.profiles.push(ProfileSample {
                        at,
                        service,
                        kind,
                        stack: stack_of,
                        value: stack.value,
                        resource: Arc::clone(&resource),
                    });
                }
                _ => rejected += 1,
            }
        }
    }
    Ok((batch, rejected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn stacks_become_rows() {
        let stack = |frames: &[u32], value| Stack { frames: frames.to_vec(), value };
        let request = ExportProfiles {
            strings: strings(&["cart", "cpu:nanoseconds", "host.name", "h1", "main", "work"]),
            profiles: vec![Profile {
                service: 0,
                attributes: vec![2, 3],
                kind: 1,
                at: 5,
                // A name that is not there, no frames, no amount: each is dropped.
                stacks: vec![stack(&[4, 5], 7), stack(&[99], 1), stack(&[], 1), stack(&[4], 0)],
            }],
        };
        let (batch, rejected) =
            decode(&request.encode_to_vec(), &Limits::default(), UnixNanos(10)).expect("a message");
        assert_eq!(rejected, 3);
        let [row] = batch.profiles.as_slice() else { panic!("one row, not {}", batch.profiles.len()) };
        assert_eq!(
            (row.service.as_str(), row.stack.join(";"), row.value),
            ("cart", "main;work".to_owned(), 7)
        );
        assert_eq!(row.resource.get("host.name").map(String::as_str), Some("h1"));
    }

    #[test]
    fn stacks_do_not_multiply_their_resource_without_bound() {
        let (name_bytes, attributes) = (512, 128_u32);
        let long = |index: u32| format!("{index:0name_bytes$}");
        let profile = Profile {
            service: 0,
            attributes: (0..attributes).flat_map(|index| [index, index]).collect(),
            kind: 1,
            at: 5,
            stacks: vec![Stack { frames: vec![2], value: 1 }; 1_000],
        };
        let request =
            ExportProfiles { strings: (0..attributes).map(long).collect(), profiles: vec![profile; 5] };
        let row_bytes = (2 * attributes as usize + 2) * name_bytes;
        let fits = Limits::default().max_repeated_bytes / row_bytes;

        let (batch, rejected) =
            decode(&request.encode_to_vec(), &Limits::default(), UnixNanos(10)).expect("a message");
        assert_eq!((batch.profiles.len(), rejected), (fits, 5_000 - fits as u64));
    }

    #[test]
    fn damage_is_refused() {
        assert!(decode(&[0xff; 20], &Limits::default(), UnixNanos(0)).is_err());
    }
}
