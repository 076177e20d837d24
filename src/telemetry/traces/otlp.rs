//! OTLP's protobuf, as much of it as spans need. By hand, because it is a screen of code and the crates for it
//! bring a second HTTP stack. Field numbers: opentelemetry-proto, `trace.proto`, `common.proto`,
//! `resource.proto`; <https://protobuf.dev/programming-guides/encoding/>.

use crate::dispatch::trace::{RECEIVE, SUBMIT, Span, Way};
use crate::domain::job::Timestamp;

const SERVICE: &str = "dispatcher";
/// `SpanKind`.
const INTERNAL: u64 = 1;
const CLIENT: u64 = 3;
const CONSUMER: u64 = 5;
/// `StatusCode`.
const ERROR: u64 = 2;
/// Wire types.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

/// An `ExportTraceServiceRequest`.
pub(super) fn request(ways: &[Way]) -> Vec<u8> {
    let mut scope_spans = Message::default();
    scope_spans.message(1, Message::default().text(1, SERVICE).text(2, env!("CARGO_PKG_VERSION")));
    for way in ways {
        for one in &way.spans {
            scope_spans.message(2, &span(way, one));
        }
    }
    let mut resource = Message::default();
    resource.message(1, &text_attribute("service.name", SERVICE));
    resource.message(1, &text_attribute("service.version", env!("CARGO_PKG_VERSION")));
    let mut resource_spans = Message::default();
    resource_spans.message(1, &resource).message(2, &scope_spans);
    let mut request = Message::default();
    request.message(1, &resource_spans);
    request.0
}

fn span(way: &Way, span: &Span) -> Message {
    let kind = match span.name {
        RECEIVE => CONSUMER,
        SUBMIT => CLIENT,
        _ => INTERNAL,
    };
    let mut message = Message::default();
    message.bytes(1, &way.trace).bytes(2, &span.id).bytes(4, &span.parent).text(5, span.name).number(6, kind);
    message.fixed(7, nanoseconds(span.begun)).fixed(8, nanoseconds(span.ended));
    message.message(9, &text_attribute("dispatcher.job", &way.job));
    message.message(9, &text_attribute("dispatcher.account", &way.account));
    if let Some(code) = span.code {
        message.message(9, &number_attribute("dispatcher.code", code));
    }
    if let Some(outcome) = span.outcome {
        message.message(9, &text_attribute("dispatcher.outcome", outcome.as_str()));
    }
    if span.failed {
        message.message(15, Message::default().number(3, ERROR));
    }
    message
}

/// Times before 1970 are none.
fn nanoseconds(at: Timestamp) -> u64 {
    at.timestamp_nanos_opt().and_then(|at| u64::try_from(at).ok()).unwrap_or(0)
}

fn text_attribute(key: &str, value: &str) -> Message {
    let mut attribute = Message::default();
    attribute.text(1, key).message(2, Message::default().text(1, value));
    attribute
}

fn number_attribute(key: &str, value: i64) -> Message {
    let mut attribute = Message::default();
    attribute.text(1, key).message(2, Message::default().number(3, value.cast_unsigned()));
    attribute
}

/// A protobuf message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) -> &mut Message {
        self.varint(field << 3 | VARINT);
        self.varint(value);
        self
    }

    fn fixed(&mut self, field: u64, value: u64) -> &mut Message {
        self.varint(field << 3 | FIXED64);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(&mut self, field: u64, value: &[u8]) -> &mut Message {
        self.varint(field << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    fn text(&mut self, field: u64, value: &str) -> &mut Message {
        self.bytes(field, value.as_bytes())
    }

    fn message(&mut self, field: u64, value: &Message) -> &mut Message {
        self.bytes(field, &value.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_specification_shows() {
        let mut message = Message::default();
        message.number(1, 150).text(2, "testing").fixed(3, 1);
        let expected = b"\x08\x96\x01\x12\x07testing\x19\x01\0\0\0\0\0\0\0";
        assert_eq!(message.0, expected);
    }
}
