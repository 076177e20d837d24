//! AMQP properties and headers: what the decoder needs, and all of it as JSON for `rejections`.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Map, Value, json};

use crate::domain::message::Properties;

/// Set on messages of released jobs: their place in the order of arrival.
pub(super) const RELEASED: &str = "x-dispatcher-seq";
/// When a job was published, in Unix milliseconds.
pub(super) const PUBLISHED_MS: &str = "x-published-ms";
/// Set on messages of released jobs that no other account may send.
pub(super) const BOUND: &str = "x-dispatcher-bound";
/// Set on refused messages that are published again: the number of their rejection. Postgres has an index on it.
pub(super) const REJECTION: &str = "x-dispatcher-rejection";
/// How often a quorum queue has given a message out before.
pub(super) const DELIVERY_COUNT: &str = "x-delivery-count";
/// W3C trace context.
pub(super) const TRACEPARENT: &str = "traceparent";

/// What the decoder needs.
pub(super) fn decoded(delivery: &Delivery) -> Properties {
    let properties = &delivery.properties;
    Properties {
        message_id: properties.message_id().as_ref().map(|id| id.as_str().to_owned()),
        routing_key: delivery.routing_key.as_str().to_owned(),
        timestamp_ms: integer(properties, PUBLISHED_MS)
            .or_else(|| properties.timestamp().and_then(|at| i64::try_from(at).ok())),
        traceparent: header(properties, TRACEPARENT).and_then(|value| match json_of(value) {
            Value::String(text) => Some(text),
            _ => None,
        }),
    }
}

fn header<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a AMQPValue> {
    properties.headers().as_ref()?.inner().get(name)
}

/// A header as an integer, whatever integer type, or text, the publisher's library chose.
pub(super) fn integer(properties: &BasicProperties, name: &str) -> Option<i64> {
    match json_of(header(properties, name)?) {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// All that came beside the body.
pub(super) fn describe(exchange: &str, routing_key: &str, redelivered: bool, p: &BasicProperties) -> String {
    let short = |text: &Option<lapin::types::ShortString>| text.as_ref().map(|text| clean(text.as_str()));
    let mut all = json!({
        "exchange": clean(exchange),
        "routing_key": clean(routing_key),
        "redelivered": redelivered,
        "message_id": short(p.message_id()),
        "content_type": short(p.content_type()),
        "content_encoding": short(p.content_encoding()),
        "delivery_mode": p.delivery_mode(),
        "priority": p.priority(),
        "correlation_id": short(p.correlation_id()),
        "reply_to": short(p.reply_to()),
        "expiration": short(p.expiration()),
        "timestamp": p.timestamp(),
        "type": short(p.kind()),
        "user_id": short(p.user_id()),
        "app_id": short(p.app_id()),
        "headers": p.headers().as_ref().map(table),
    });
    if let Value::Object(members) = &mut all {
        members.retain(|_, value| !value.is_null());
    }
    all.to_string()
}

/// Back from [`describe`]: what the decoder needs.
pub(super) fn of_description(description: &str) -> Properties {
    let all: Value = serde_json::from_str(description).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let integer = |value: &Value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
    Properties {
        message_id: text(&all["message_id"]),
        routing_key: text(&all["routing_key"]).unwrap_or_default(),
        timestamp_ms: integer(&all["headers"][PUBLISHED_MS]).or_else(|| integer(&all["timestamp"])),
        traceparent: text(&all["headers"][TRACEPARENT]),
    }
}

fn table(table: &FieldTable) -> Value {
    let members = table.inner().iter().map(|(name, value)| (clean(name.as_str()), json_of(value)));
    Value::Object(members.collect::<Map<_, _>>())
}

/// Postgres has no NUL in text.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn json_of(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::ShortShortInt(value) => json!(value),
        AMQPValue::ShortShortUInt(value) => json!(value),
        AMQPValue::ShortInt(value) => json!(value),
        AMQPValue::ShortUInt(value) => json!(value),
        AMQPValue::LongInt(value) => json!(value),
        AMQPValue::LongUInt(value) => json!(value),
        AMQPValue::LongLongInt(value) => json!(value),
        AMQPValue::Float(value) => json!(value),
        AMQPValue::Double(value) => json!(value),
        AMQPValue::DecimalValue(value) => json!(f64::from(value.value) / 10f64.powi(i32::from(value.scale))),
        AMQPValue::ShortString(value) => json!(clean(value.as_str())),
        AMQPValue::LongString(value) => json!(clean(&String::from_utf8_lossy(value.as_bytes()))),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(json_of).collect(),
        AMQPValue::Timestamp(value) => json!(value),
        AMQPValue::FieldTable(value) => table(value),
        AMQPValue::ByteArray(value) => json!(clean(&String::from_utf8_lossy(value.as_slice()))),
        AMQPValue::Void => Value::Null,
    }
}
