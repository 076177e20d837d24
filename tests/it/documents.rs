//! `deploy/job.schema.json` and `deploy/asyncapi.yaml` say what the program does: they are made here, from
//! the constants of the decoder and of the events, and compared with the files.
//!
//! After a change: `UPDATE_DOCUMENTS=1 cargo test --test it documents`, and commit the two files.

mod asyncapi;
mod job;
mod yaml;

use std::collections::BTreeSet;
use std::path::Path;

use dispatcher::domain::event::{JOB_DATA, REPLY_DATA, TYPES};
use dispatcher::domain::message::FIELDS;
use serde_json::Value;

/// The file is the text; or becomes it, where that is asked for.
fn keep(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "deploy/{file} is not what the code says: see the head of tests/it/documents.rs");
}

#[test]
fn the_schema_of_jobs_is_kept() {
    keep("job.schema.json", &format!("{:#}\n", job::schema()));
    let schema = job::schema();
    let described: BTreeSet<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(described, FIELDS.into());
}

#[test]
fn the_description_of_the_channels_is_kept() {
    let document = asyncapi::document();
    let head = "# AsyncAPI 3: what goes into the dispatcher, and what comes out. Made by tests/it/documents.rs.\n";
    keep("asyncapi.yaml", &format!("{head}{}", yaml::render(&document)));
    resolve(&document, &document);
    let data = |name: &str| -> BTreeSet<String> {
        let data = &document["components"]["schemas"][name];
        let required: BTreeSet<&str> = data["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let members = data["properties"].as_object().unwrap();
        assert!(members.keys().all(|member| required.contains(member.as_str())), "{name} is said exactly");
        members.keys().cloned().collect()
    };
    assert_eq!(data("jobData"), JOB_DATA.map(str::to_owned).into());
    assert_eq!(data("replyData"), REPLY_DATA.map(str::to_owned).into());
    let text = document.to_string();
    assert!(TYPES.iter().all(|kind| text.contains(&format!("\"{kind}\""))));
}

/// Every `$ref` leads somewhere.
fn resolve(value: &Value, document: &Value) {
    match value {
        Value::Object(members) => {
            if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                match target.strip_prefix('#') {
                    Some(pointer) => assert!(document.pointer(pointer).is_some(), "{target} leads nowhere"),
                    None => assert_eq!(target, "./job.schema.json"),
                }
            }
            members.values().for_each(|member| resolve(member, document));
        }
        Value::Array(items) => items.iter().for_each(|item| resolve(item, document)),
        _ => {}
    }
}
