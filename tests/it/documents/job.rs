//! The JSON Schema of a job message. It accepts what the decoder accepts, as far as a schema can say: it
//! knows neither which accounts are configured, nor the length of variables that are joined, nor the order
//! of two times, nor the bytes of `metadata`, and nothing of what JSON parsers hide (keys that stand twice).

use std::collections::BTreeSet;

use dispatcher::domain::job::OnUnknown;
use dispatcher::domain::message::{self, MAX_ID, MAX_METADATA, MAX_TEMPLATE_ID, Properties, Rules};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Map, Value, json};

/// `gateway.content_max`, by default.
const CONTENT_MAX: usize = 300;

/// The schema, draft 2020-12.
pub fn schema() -> Value {
    let (text, list, absent) = (json!({ "type": "string" }), json!({ "type": "array" }), json!({ "type": "null" }));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An SMS job",
        "description": "The body of a message to the exchange of jobs. A field that is null counts as absent. \
                        The id may be the AMQP message_id instead.",
        "type": "object",
        "additionalProperties": false,
        "required": ["mobile"],
        "properties": properties(),
        "oneOf": [
            {
                "title": "A full text",
                "required": ["content"],
                "properties": { "content": text, "template_id": absent, "variables": absent },
            },
            {
                "title": "A template",
                "required": ["template_id", "variables"],
                "properties": { "content": absent, "template_id": text, "variables": list },
            },
        ],
    })
}

fn properties() -> Value {
    let printable = |max: usize, what: &str| {
        json!({
            "description": what, "type": ["string", "null"], "minLength": 1, "maxLength": max, "pattern": "^[ -~]*$",
        })
    };
    let time = |what: &str| json!({ "description": what, "type": ["string", "null"], "format": "date-time" });
    let mut words: Vec<Option<&str>> = OnUnknown::ALL.iter().map(|word| Some(word.as_str())).collect();
    words.push(None);
    json!({
        "id": printable(MAX_ID, "One id is sent once, for as long as its job is kept."),
        "mobile": {
            "description": "A mainland number; +86, 0086, 86, spaces and dashes are normalised away.",
            "type": "string",
            "pattern": "^[ \\t\\r\\n]*(?:\\+[ -]*8[ -]*6|-*[ -]*(?:0[ -]*0[ -]*)?8[ -]*6)?[ -]*1[ -]*[3-9](?:[ -]*[0-9]){9}[ -]*[ \\t\\r\\n]*$",
        },
        "content": {
            "description": "The text without the signature. The longest is gateway.content_max.",
            "type": ["string", "null"], "minLength": 1, "maxLength": CONTENT_MAX, "pattern": "^[^\\u0000]*$",
        },
        "template_id": printable(MAX_TEMPLATE_ID, "ihuyi's number of the template, or the name of one in the configuration."),
        "variables": {
            "description": "In the order of the template's places. Joined by |, at most gateway.content_max characters.",
            "type": ["array", "null"],
            "minItems": 1,
            "maxItems": CONTENT_MAX + 1,
            "items": { "type": "string", "maxLength": CONTENT_MAX, "pattern": "^[^|\\u0000]*$" },
        },
        "account": {
            "description": "A configured account.", "type": ["string", "null"], "pattern": "^[a-z0-9_-]{1,64}$",
        },
        "not_before": time("Not submitted earlier."),
        "expires_at": time("Not submitted later. Not before not_before."),
        "on_unknown": {
            "description": "What to do when nobody can know whether ihuyi took it. Default: in_doubt.on_unknown.",
            "enum": words,
        },
        "metadata": {
            "description": format!("Echoed in events. At most {MAX_METADATA} bytes of compact JSON, without NUL."),
            "type": ["object", "null"],
        },
    })
}

fn decodes(message: &Value) -> bool {
    let rules = Rules {
        content_max: CONTENT_MAX,
        default_account: "main".into(),
        accounts: BTreeSet::from(["main".to_owned()]),
        on_unknown: OnUnknown::Hold,
        checks: Default::default(),
        templates: Default::default(),
    };
    let properties = Properties { message_id: Some("from-amqp".into()), ..Properties::default() };
    message::decode(message.to_string().as_bytes(), &properties, &rules).is_ok()
}

fn some<T: Into<Value> + Clone + std::fmt::Debug + 'static>(values: &[T]) -> BoxedStrategy<Value> {
    let values: Vec<Value> = values.iter().cloned().map(Into::into).collect();
    prop::sample::select(values).boxed()
}

fn text(pattern: &str) -> BoxedStrategy<Value> {
    prop::string::string_regex(pattern).unwrap().prop_map(Value::from).boxed()
}

/// Right and wrong values for each field.
fn value_of(field: &str) -> BoxedStrategy<Value> {
    let odd = some(&[json!(1), json!(true), json!([]), json!({}), json!(""), Value::Null]);
    let own = match field {
        "id" => prop_oneof![text("[ -~]{1,5}"), text("\\PC{1,3}"), text("x{127,130}")].boxed(),
        "mobile" => prop_oneof![
            5 => some(&["13800138000"]),
            1 => text(" ?(\\+86|0086|86|)[ -]{0,2}1[0-9]( ?[0-9]){8,10} ?"),
            1 => text("[-+ 0-9]{10,16}"),
            1 => some(&["-8613800138000", " +8613800138000", "- +8613800138000", "１３８００１３８０００"]),
        ]
        .boxed(),
        "content" => prop_oneof![text("\\PC{1,20}"), text("验{298,302}"), some(&["a\0b", "𠮷"])].boxed(),
        "template_id" => prop_oneof![text("[0-9]{1,4}"), text("x{63,66}"), text("\\PC{1,3}")].boxed(),
        "variables" => prop_oneof![
            prop::collection::vec(text("[a-z一|]{1,3}"), 0..4).prop_map(Value::from),
            some(&[json!(["a", 1]), json!(["", ""]), json!(["a\0"]), json!([null])]),
        ]
        .boxed(),
        "account" => some(&["main"]),
        "not_before" | "expires_at" => some(&[
            "2026-11-11T09:30:00+08:00",
            "2026-11-11T09:30:00Z",
            "2026-11-11T09:30:00.123456Z",
            "2026-11-11T09:30:00",
            "2026-11-11",
            "2026-13-11T09:30:00Z",
            "tomorrow",
        ]),
        "on_unknown" => some(&["hold", "resend", "Hold", "other"]),
        "metadata" => some(&[json!({ "a": [1, { "b": null }] }), json!("a"), json!([1])]),
        _ => some(&["a field that nobody knows"]),
    };
    prop_oneof![8 => own, 1 => odd].boxed()
}

/// Objects of known fields, and now and then an unknown one; mostly with a number and a text.
fn any_message() -> impl Strategy<Value = Value> {
    let mut names: Vec<&str> = message::FIELDS.to_vec();
    names.push("colour");
    let chances = names.into_iter().map(|name| {
        let chance = match name {
            "mobile" | "content" => 0.9,
            "colour" | "template_id" | "variables" => 0.1,
            _ => 0.3,
        };
        prop::option::weighted(chance, value_of(name))
            .prop_map(move |value| value.map(|value| (name.to_owned(), value)))
    });
    chances.collect::<Vec<_>>().prop_map(|members| Value::Object(members.into_iter().flatten().collect::<Map<_, _>>()))
}

fn is_empty_when_joined(message: &Value) -> bool {
    message["variables"] == json!([""])
}

/// The window is empty: two times that are both right.
fn is_backwards(message: &Value) -> bool {
    let time = |name: &str| message[name].as_str()?.parse::<chrono::DateTime<chrono::Utc>>().ok();
    matches!((time("not_before"), time("expires_at")), (Some(from), Some(to)) if from > to)
}

#[test]
fn the_schema_accepts_what_the_decoder_accepts() {
    let validator = jsonschema::options().should_validate_formats(true).build(&schema()).unwrap();
    let mut taken = 0;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..5_000 {
        let message = any_message().new_tree(&mut runner).unwrap().current();
        if is_empty_when_joined(&message) || is_backwards(&message) {
            continue;
        }
        let decoded = decodes(&message);
        assert_eq!(validator.is_valid(&message), decoded, "(the schema, the decoder) disagree about {message}");
        taken += u32::from(decoded);
    }
    assert!((300..4_500).contains(&taken), "{taken} of 5,000 are jobs");
}
