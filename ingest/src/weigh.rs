//! How much a body would unfold to, before it is decoded.
//!
//! An empty span takes 2 bytes on the wire and some 300 in memory, so a bound on bytes alone would let one hostile
//! request of 16 MiB take gigabytes. These walks count the messages a body holds, without building them. Whether the
//! body is well-formed is for the decoder to say: a walk that loses its way stops and lets it.

/// The fields of a message that are messages, with their shapes.
pub(crate) struct Shape(&'static [(u64, &'static Shape)]);

static LEAF: Shape = Shape(&[]);
static ANY_VALUE: Shape = Shape(&[(5, &ARRAY), (6, &KEY_VALUES)]);
static ARRAY: Shape = Shape(&[(1, &ANY_VALUE)]);
static KEY_VALUES: Shape = Shape(&[(1, &KEY_VALUE)]);
static KEY_VALUE: Shape = Shape(&[(2, &ANY_VALUE)]);
static RESOURCE: Shape = Shape(&[(1, &KEY_VALUE), (3, &LEAF)]);
static SCOPE: Shape = Shape(&[(3, &KEY_VALUE)]);

/// `ExportTraceServiceRequest`.
pub(crate) static TRACES: Shape = Shape(&[(1, &RESOURCE_SPANS)]);
static RESOURCE_SPANS: Shape = Shape(&[(1, &RESOURCE), (2, &SCOPE_SPANS)]);
static SCOPE_SPANS: Shape = Shape(&[(1, &SCOPE), (2, &SPAN)]);
static SPAN: Shape = Shape(&[(9, &KEY_VALUE), (11, &SPAN_EVENT), (13, &SPAN_LINK), (15, &LEAF)]);
static SPAN_EVENT: Shape = Shape(&[(3, &KEY_VALUE)]);
static SPAN_LINK: Shape = Shape(&[(4, &KEY_VALUE)]);

/// `ExportLogsServiceRequest`.
pub(crate) static LOGS: Shape = Shape(&[(1, &RESOURCE_LOGS)]);
static RESOURCE_LOGS: Shape = Shape(&[(1, &RESOURCE), (2, &SCOPE_LOGS)]);
static SCOPE_LOGS: Shape = Shape(&[(1, &SCOPE), (2, &LOG_RECORD)]);
static LOG_RECORD: Shape = Shape(&[(5, &ANY_VALUE), (6, &KEY_VALUE)]);

/// `ExportMetricsServiceRequest`.
pub(crate) static METRICS: Shape = Shape(&[(1, &RESOURCE_METRICS)]);
static RESOURCE_METRICS: Shape = Shape(&[(1, &RESOURCE), (2, &SCOPE_METRICS)]);
static SCOPE_METRICS: Shape = Shape(&[(1, &SCOPE), (2, &METRIC)]);
static METRIC: Shape = Shape(&[
    (5, &NUMBERS),
    (7, &NUMBERS),
    (9, &HISTOGRAM),
    (10, &EXPONENTIAL_HISTOGRAM),
    (11, &SUMMARY),
    (12, &KEY_VALUE),
]);
static NUMBERS: Shape = Shape(&[(1, &NUMBER_POINT)]);
static NUMBER_POINT: Shape = Shape(&[(5, &EXEMPLAR), (7, &KEY_VALUE)]);
static HISTOGRAM: Shape = Shape(&[(1, &HISTOGRAM_POINT)]);
static HISTOGRAM_POINT: Shape = Shape(&[(8, &EXEMPLAR), (9, &KEY_VALUE)]);
static EXPONENTIAL_HISTOGRAM: Shape = Shape(&[(1, &EXPONENTIAL_POINT)]);
static EXPONENTIAL_POINT: Shape = Shape(&[(1, &KEY_VALUE), (8, &LEAF), (9, &LEAF), (11, &EXEMPLAR)]);
static SUMMARY: Shape = Shape(&[(1, &SUMMARY_POINT)]);
static SUMMARY_POINT: Shape = Shape(&[(6, &LEAF), (7, &KEY_VALUE)]);
static EXEMPLAR: Shape = Shape(&[(7, &KEY_VALUE)]);

/// As deep as the decoder would follow.
const MAX_DEPTH: usize = 100;

/// Whether a protobuf body holds at most `limit` messages.
pub(crate) fn protobuf(body: &[u8], shape: &'static Shape, limit: usize) -> bool {
    let mut left = limit;
    count(body, shape, MAX_DEPTH, &mut left)
}

/// Takes the messages in `body` off `left`; false when there are more.
fn count(mut body: &[u8], shape: &'static Shape, depth: usize, left: &mut usize) -> bool {
    while let Some(key) = varint(&mut body) {
        let rest = match key & 7 {
            0 => varint(&mut body).map(|_| body),
            1 => body.get(8..),
            5 => body.get(4..),
            2 => {
                let length = varint(&mut body).and_then(|length| usize::try_from(length).ok());
                let Some((inner, rest)) = length.and_then(|length| body.split_at_checked(length)) else {
                    return true;
                };
                if let Some((_, shape)) = shape.0.iter().find(|(field, _)| *field == key >> 3) {
                    if *left == 0 {
                        return false;
                    }
                    *left -= 1;
                    if depth > 0 && !shape.0.is_empty() && !count(inner, shape, depth - 1, left) {
                        return false;
                    }
                }
                Some(rest)
            }
            // Groups, which OTLP has none of, and which the decoder only skips.
            _ => None,
        };
        match rest {
            Some(rest) => body = rest,
            None => return true,
        }
    }
    true
}

fn varint(body: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = body.split_first()?;
        *body = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Whether a JSON body holds at most `limit` objects, arrays and further members of them.
pub(crate) fn json(body: &[u8], limit: usize) -> bool {
    let (mut elements, mut quoted, mut escaped) = (0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' | b',' if !quoted => elements += 1,
            _ => {}
        }
    }
    elements <= limit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &[u8], shape: &'static Shape, messages: usize) {
        assert!(protobuf(body, shape, messages), "at most {messages}");
        assert!(messages == 0 || !protobuf(body, shape, messages - 1), "at least {messages}");
    }

    #[test]
    fn counts_messages_at_every_depth() {
        // One ResourceSpans, one ScopeSpans, three empty spans.
        check(&[0x0a, 8, 0x12, 6, 0x12, 0, 0x12, 0, 0x12, 0], &TRACES, 5);
        // A string field of the same number is no message.
        check(&[0x0a, 2, 0x1a, 0], &TRACES, 1);
        check(&[], &TRACES, 0);
    }

    #[test]
    fn broken_bodies_are_left_to_the_decoder() {
        check(&[0x0a, 200, 0x12], &TRACES, 0);
        check(&[0xff; 20], &TRACES, 0);
        check(&[0x0b, 0x0a, 0], &TRACES, 0);
    }

    #[test]
    fn json_inside_strings_weighs_nothing() {
        assert!(json(br#"{"a":"[,,,\"{{{","b":[1,2]}"#, 4));
        assert!(!json(br#"{"a":"[,,,\"{{{","b":[1,2]}"#, 3));
    }
}
