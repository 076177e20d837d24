//! YAML of a JSON value: blocks, with every scalar as JSON writes it, which YAML reads the same.

use serde_json::Value;

/// The document.
pub fn render(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric());
                let key = if plain { key.clone() } else { Value::from(key.as_str()).to_string() };
                out.push_str(&format!("{indent}{key}:"));
                nested(member, depth, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                out.push_str(&format!("{indent}-"));
                nested(item, depth, out);
            }
        }
        scalar => out.push_str(&format!("{indent}{scalar}\n")),
    }
}

fn nested(value: &Value, depth: usize, out: &mut String) {
    let is_flat = |value: &Value| !matches!(value, Value::Object(members) if !members.is_empty());
    match value {
        Value::Object(members) if !members.is_empty() => {
            out.push('\n');
            block(value, depth + 1, out);
        }
        Value::Array(items) if !items.iter().all(is_flat) => {
            out.push('\n');
            block(value, depth + 1, out);
        }
        flat => out.push_str(&format!(" {flat}\n")),
    }
}
