//! The channels: jobs in, events out. AsyncAPI 3.0, AMQP bindings 0.3.

use dispatcher::domain::event::{CONTENT_TYPE, JOB_DATA, REPLY_DATA, TYPES};
use dispatcher::domain::job::Priority;
use serde_json::{Map, Value, json};

/// The whole description, for `rabbitmq.prefix = "sms"`.
pub fn document() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "dispatcher",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "SMS jobs in, what becomes of them out. Names begin with rabbitmq.prefix, here the default, sms.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "channels": { "jobs": jobs(), "events": events() },
        "operations": {
            "receiveJob": {
                "action": "receive",
                "channel": { "$ref": "#/channels/jobs" },
                "messages": [{ "$ref": "#/channels/jobs/messages/job" }],
                "summary": "Publish with confirms, persistent, mandatory.",
                "bindings": { "amqp": { "deliveryMode": 2, "mandatory": true, "ack": true, "bindingVersion": "0.3.0" } },
            },
            "sendEvent": {
                "action": "send",
                "channel": { "$ref": "#/channels/events" },
                "messages": [
                    { "$ref": "#/channels/events/messages/jobEvent" },
                    { "$ref": "#/channels/events/messages/replyReceived" },
                ],
                "summary": "At least once, in order for each job; repeats have the same id.",
                "bindings": { "amqp": { "deliveryMode": 2, "mandatory": false, "ack": true, "bindingVersion": "0.3.0" } },
            },
        },
        "components": { "messages": messages(), "schemas": schemas() },
    })
}

fn jobs() -> Value {
    json!({
        "address": "{priority}.{mobile}",
        "description": "The routing key. A message whose key begins with no priority is taken as normal.",
        "parameters": {
            "priority": { "enum": Priority::ALL.iter().map(|priority| priority.as_str()).collect::<Vec<_>>() },
            "mobile": { "description": "Eleven digits." },
        },
        "messages": { "job": { "$ref": "#/components/messages/job" } },
        "bindings": exchange("sms.jobs"),
    })
}

fn events() -> Value {
    json!({
        "address": "{type}",
        "description": "The routing key. Bind a queue of your own: what nobody listens to is dropped.",
        "parameters": { "type": { "enum": TYPES } },
        "messages": {
            "jobEvent": { "$ref": "#/components/messages/jobEvent" },
            "replyReceived": { "$ref": "#/components/messages/replyReceived" },
        },
        "bindings": exchange("sms.events"),
    })
}

fn exchange(name: &str) -> Value {
    json!({
        "amqp": {
            "is": "routingKey",
            "exchange": { "name": name, "type": "topic", "durable": true, "autoDelete": false },
            "bindingVersion": "0.3.0",
        },
    })
}

fn messages() -> Value {
    let event = |title: &str, schema: &str| {
        json!({
            "title": title,
            "contentType": CONTENT_TYPE,
            "payload": { "$ref": format!("#/components/schemas/{schema}") },
        })
    };
    json!({
        "job": {
            "title": "An SMS job",
            "contentType": "application/json",
            "description": "The AMQP message_id is the id where the body has none.",
            "headers": {
                "type": "object",
                "properties": {
                    "x-published-ms": { "type": "integer", "description": "Unix milliseconds: starts the latency clock." },
                    "traceparent": { "type": "string", "description": "W3C trace context, continued." },
                },
            },
            "payload": { "$ref": "./job.schema.json" },
        },
        "jobEvent": event("What became of a job", "jobEvent"),
        "replyReceived": event("Somebody answered", "replyReceived"),
    })
}

fn schemas() -> Value {
    let (of_jobs, of_replies): (Vec<&str>, Vec<&str>) = TYPES.iter().partition(|kind| kind.starts_with("job."));
    let states: Vec<&str> = of_jobs.iter().filter_map(|kind| kind.strip_prefix("job.")).collect();
    json!({
        "jobEvent": envelope(&of_jobs, "jobData", true),
        "replyReceived": envelope(&of_replies, "replyData", false),
        "jobData": exactly(&JOB_DATA, |member| match member {
            "state" => json!({ "type": "string", "enum": states }),
            "code" => json!({ "type": ["integer", "null"], "description": "ihuyi's last answer." }),
            "metadata" => json!({ "type": ["object", "null"], "description": "As published." }),
            "at" => time(),
            "id" | "mobile" | "account" => json!({ "type": "string" }),
            _ => json!({ "type": ["string", "null"] }),
        }),
        "replyData": exactly(&REPLY_DATA, |member| match member {
            "at" => time(),
            "id" => json!({ "type": ["string", "null"], "description": "The last job that went to the number." }),
            _ => json!({ "type": "string" }),
        }),
    })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// An object with all of `members` and no others.
fn exactly(members: &[&str], schema: impl Fn(&str) -> Value) -> Value {
    let properties: Map<String, Value> = members.iter().map(|member| ((*member).to_owned(), schema(member))).collect();
    json!({ "type": "object", "additionalProperties": false, "required": members, "properties": properties })
}

fn envelope(types: &[&str], data: &str, always_a_subject: bool) -> Value {
    let mut required = vec!["specversion", "id", "source", "type", "time", "datacontenttype", "data"];
    if always_a_subject {
        required.push("subject");
    }
    json!({
        "type": "object",
        "description": "CloudEvents 1.0, structured.",
        "required": required,
        "properties": {
            "specversion": { "type": "string", "const": "1.0" },
            "id": { "type": "string", "description": "The same for each repeat of one fact; also the AMQP message_id." },
            "source": { "type": "string", "description": "/dispatcher/ and rabbitmq.prefix." },
            "type": { "type": "string", "enum": types },
            "subject": { "type": "string", "description": "The job's id." },
            "time": time(),
            "datacontenttype": { "type": "string", "const": "application/json" },
            "data": { "$ref": format!("#/components/schemas/{data}") },
        },
    })
}
