//! Span requests: traces of ten spans through five services, twelve attributes a span, patched with new ids and times.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

use super::patch::{Mark, fill, find, hole};
use super::{SERVICES, number, resource, text};

const TRACE: Mark = [0xf1, 0xe2, 0xd3, 0xc4];
const SPAN: Mark = [0xf2, 0xe3, 0xd4, 0xc5];
const PARENT: Mark = [0xf3, 0xe4, 0xd5, 0xc6];
const START: Mark = [0xf4, 0xe5, 0xd6, 0xc7];
const END: Mark = [0xf5, 0xe6, 0xd7, 0xc8];

const CLIENT: i32 = 3;
const SERVER: i32 = 2;
const INTERNAL: i32 = 1;

/// One span of the trace that is repeated: index into [`SERVICES`], parent's index, name, kind, start and length in
/// microseconds after the trace's beginning.
struct Step(usize, Option<u32>, &'static str, i32, u64, u64);

const TRACE_STEPS: [Step; 10] = [
    Step(0, None, "POST /checkout", SERVER, 0, 42_000),
    Step(0, Some(0), "POST", CLIENT, 900, 40_000),
    Step(1, Some(1), "POST /orders", SERVER, 1_400, 38_000),
    Step(1, Some(2), "price order", INTERNAL, 1_900, 2_000),
    Step(1, Some(2), "GET", CLIENT, 4_000, 9_000),
    Step(2, Some(4), "GET /products/{id}", SERVER, 4_500, 8_000),
    Step(2, Some(5), "SELECT products", CLIENT, 5_000, 6_000),
    Step(3, Some(2), "GET /carts/{id}", SERVER, 14_000, 4_000),
    Step(1, Some(2), "POST", CLIENT, 19_000, 18_000),
    Step(4, Some(8), "POST /charges", SERVER, 19_600, 16_500),
];
/// Spans of one trace.
const STEPS: u32 = TRACE_STEPS.len() as u32;

/// How the synthetic system behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// All is well.
    Healthy,
    /// Every third charge fails, and with it the request.
    PaymentFails,
}

/// A request of many spans, encoded once.
pub struct SpanTemplate {
    bytes: Vec<u8>,
    spans: u32,
    traces: Vec<(usize, u32)>,
    ids: Vec<(usize, u32)>,
    parents: Vec<(usize, u32)>,
    starts: Vec<(usize, u32)>,
    ends: Vec<(usize, u32)>,
}

impl SpanTemplate {
    /// A request of about `spans` spans (whole traces). Templates of different `variant` differ in attribute values.
    pub fn new(spans: u32, behaviour: Behaviour, variant: u32) -> Self {
        let traces = (spans / STEPS).max(1);
        let mut by_service: Vec<Vec<Span>> = SERVICES.iter().map(|_| Vec::new()).collect();
        for trace in 0..traces {
            let fails = behaviour == Behaviour::PaymentFails && trace % 3 == 0;
            for (step, described) in (0..STEPS).zip(&TRACE_STEPS) {
                let span = encode_span(trace, step, described, fails, variant);
                by_service[described.0].push(span);
            }
        }
        let request = ExportTraceServiceRequest {
            resource_spans: SERVICES
                .iter()
                .zip(by_service)
                .map(|(service, spans)| ResourceSpans {
                    resource: Some(resource(service)),
                    scope_spans: vec![ScopeSpans {
                        scope: Some(InstrumentationScope {
                            name: "synthetic".to_owned(),
                            version: "1.0.0".to_owned(),
                            ..InstrumentationScope::default()
                        }),
                        spans,
                        ..ScopeSpans::default()
                    }],
                    ..ResourceSpans::default()
                })
                .collect(),
        };
        let bytes = request.encode_to_vec();
        let template = Self {
            spans: traces * STEPS,
            traces: find(&bytes, TRACE),
            ids: find(&bytes, SPAN),
            parents: find(&bytes, PARENT),
            starts: find(&bytes, START),
            ends: find(&bytes, END),
            bytes,
        };
        let count = template.spans as usize;
        assert!(
            template.ids.len() == count && template.starts.len() == count && template.ends.len() == count,
            "the template holds bytes that look like a mark"
        );
        template
    }

    /// Spans in each request.
    pub fn spans(&self) -> u32 {
        self.spans
    }

    /// Encoded size of each request.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Request `number` of the sender `seed`, its spans spread over `spread_ns` from `start_ns` on. The id of span `i` is
    /// [`span_id`]`(seed, number * spans + i)`, so that a stored span tells which request it came in.
    pub fn request(&self, seed: u16, number: u64, start_ns: u64, spread_ns: u64) -> Bytes {
        let mut bytes = self.bytes.clone();
        let first = number * u64::from(self.spans);
        for (offset, index) in &self.traces {
            fill(
                &mut bytes,
                *offset,
                span_id(seed, first / u64::from(STEPS) + u64::from(*index)).to_be_bytes(),
            );
        }
        for (offset, index) in self.ids.iter().chain(&self.parents) {
            fill(&mut bytes, *offset, span_id(seed, first + u64::from(*index)).to_be_bytes());
        }
        let begins = |index: u32| {
            let trace = u64::from(index / STEPS);
            start_ns + spread_ns * trace / u64::from(self.spans / STEPS)
        };
        for (offset, index) in &self.starts {
            let Step(_, _, _, _, start, _) = TRACE_STEPS[(index % STEPS) as usize];
            fill(&mut bytes, *offset, (begins(*index) + start * 1000).to_le_bytes());
        }
        for (offset, index) in &self.ends {
            let Step(_, _, _, _, start, length) = TRACE_STEPS[(index % STEPS) as usize];
            // Up to a fifth longer or shorter, so that histograms have a shape.
            let length = length * (80 + u64::from(index.wrapping_mul(2_654_435_761) >> 16) % 41) / 100;
            fill(&mut bytes, *offset, (begins(*index) + (start + length) * 1000).to_le_bytes());
        }
        Bytes::from(bytes)
    }
}

/// The id of span `number` of the sender `seed`, unique among senders.
pub fn span_id(seed: u16, number: u64) -> u64 {
    (u64::from(seed) << 48) | (number & 0xffff_ffff_ffff)
}

fn encode_span(trace: u32, step: u32, described: &Step, fails: bool, variant: u32) -> Span {
    let Step(service, parent, name, kind, _, _) = described;
    let index = trace * STEPS + step;
    // A failed charge fails the request all the way up: payment, the call to it, checkout, the call to it, gateway.
    let failed = fails && matches!(step, 0 | 1 | 2 | 8 | 9);
    let mut trace_id = vec![0; 8];
    trace_id.extend(hole(TRACE, trace));
    let mixed = (trace ^ variant.wrapping_mul(977)).wrapping_mul(2_654_435_761) >> 8;
    let mut attributes = vec![
        text("http.request.method", if name.starts_with("GET") { "GET" } else { "POST" }),
        text("url.path", &format!("/{}/{}", SERVICES[*service], mixed % 5_000)),
        number("http.response.status_code", if failed { 500 } else { 200 }),
        text("network.protocol.version", "1.1"),
        text("client.address", &format!("10.0.{}.{}", mixed % 4, mixed % 250)),
        text("user_agent.original", "shop-web/5.12 (https)"),
        text("enduser.id", &format!("user-{}", mixed % 20_000)),
        text("tenant", ["north", "south", "east", "west"][(mixed % 4) as usize]),
        text("thread.name", &format!("worker-{}", mixed % 16)),
        number("http.response.body.size", i64::from(mixed % 9_000)),
        text("feature.flags", "fast-checkout,new-prices"),
    ];
    match *kind {
        CLIENT if name.starts_with("SELECT") => attributes.push(text("db.system.name", "postgresql")),
        CLIENT => attributes
            .push(text("server.address", if step == 8 { "payment" } else { SERVICES[(*service + 1) % 5] })),
        _ => attributes.push(text("http.route", name.split(' ').next_back().unwrap_or(name))),
    }
    Span {
        trace_id,
        span_id: hole(SPAN, index).to_vec(),
        parent_span_id: parent.map_or_else(Vec::new, |parent| hole(PARENT, trace * STEPS + parent).to_vec()),
        name: (*name).to_owned(),
        kind: *kind,
        start_time_unix_nano: u64::from_le_bytes(hole(START, index)),
        end_time_unix_nano: u64::from_le_bytes(hole(END, index)),
        attributes,
        status: Some(if failed {
            Status { code: 2, message: "charge declined: gateway timeout".to_owned() }
        } else {
            Status::default()
        }),
        ..Span::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn decoded(template: &SpanTemplate, seed: u16, number: u64) -> Vec<Span> {
        let bytes = template.request(seed, number, 1_000_000_000, 1_000_000);
        let request = ExportTraceServiceRequest::decode(bytes).expect("a patched template decodes");
        request
            .resource_spans
            .into_iter()
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }

    #[test]
    fn patched_requests_decode_to_whole_traces_with_ids_of_their_own() {
        let template = SpanTemplate::new(100, Behaviour::PaymentFails, 1);
        let mut ids = BTreeSet::new();
        for number in 0..3 {
            let spans = decoded(&template, 7, number);
            assert_eq!(spans.len(), 100);
            for span in &spans {
                assert!(ids.insert(span.span_id.clone()), "an id twice");
                assert_eq!(span.attributes.len(), 12);
                assert!(span.start_time_unix_nano >= 1_000_000_000);
                assert!(span.end_time_unix_nano > span.start_time_unix_nano);
                let parent = spans.iter().find(|other| other.span_id == span.parent_span_id);
                assert!(parent.is_none_or(|parent| parent.trace_id == span.trace_id));
                assert_eq!(parent.is_none(), span.parent_span_id.is_empty(), "{}", span.name);
            }
        }
        assert_eq!(ids.first().map(Vec::as_slice), Some(span_id(7, 0).to_be_bytes().as_slice()));
    }
}
