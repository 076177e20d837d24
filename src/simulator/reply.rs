//! The gateway's replies, byte for byte.

use std::fmt::Write as _;

use super::options::Wire;

/// What the gateway says to a submit, a balance query or a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The response code.
    pub code: i64,
    /// Its text.
    pub msg: String,
    /// What follows it.
    pub detail: Detail,
}

/// The last field of a reply, which also tells the kinds apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// Of a submit: the serial number, `0` for a refusal.
    Smsid(String),
    /// Of a balance query: the parts left.
    Num(u64),
    /// Of a registration: the template's number, `0` for a refusal.
    TemplateId(String),
}

/// The spelling of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The default.
    Xml {
        /// Whether the host called was a `.cn` one: the namespace follows it.
        cn: bool,
    },
    /// With `format=json`, and always on the newer endpoints.
    Json,
}

impl Reply {
    /// Appends the body to `out`.
    pub fn write(&self, format: Format, wire: &Wire, out: &mut String) {
        match format {
            Format::Xml { cn } => self.write_xml(cn, wire, out),
            Format::Json => self.write_json(wire, out),
        }
    }

    fn write_xml(&self, cn: bool, wire: &Wire, out: &mut String) {
        let (root, field, value) = match &self.detail {
            Detail::Smsid(smsid) => ("SubmitResult", "smsid", smsid.clone()),
            Detail::Num(num) => ("GetNumResult", "num", num.to_string()),
            Detail::TemplateId(id) => ("AddTemplateResult", "templateid", id.clone()),
        };
        out.push_str("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<");
        out.push_str(root);
        if !wire.no_namespace {
            let host = if cn { "106.ihuyi.cn" } else { "106.ihuyi.com" };
            let _ = write!(out, " xmlns=\"http://{host}/\"");
        }
        let _ = write!(out, ">\n<code>{}</code>\n<msg>", self.code);
        escape_xml(&self.msg, out);
        let _ = writeln!(out, "</msg>\n<{field}>{value}</{field}>\n</{root}>");
    }

    fn write_json(&self, wire: &Wire, out: &mut String) {
        let _ = write!(out, "{{\"code\":{},\"msg\":\"", self.code);
        escape_json(&self.msg, wire.json_escapes, out);
        let _ = match &self.detail {
            Detail::Smsid(smsid) => write!(out, "\",\"smsid\":\"{smsid}\"}}"),
            Detail::Num(num) if wire.num_as_string => write!(out, "\",\"num\":\"{num}\"}}"),
            Detail::Num(num) => write!(out, "\",\"num\":{num}}}"),
            Detail::TemplateId(id) => write!(out, "\",\"templateid\":\"{id}\"}}"),
        };
    }
}

fn escape_xml(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            other => out.push(other),
        }
    }
}

fn escape_json(text: &str, ascii_only: bool, out: &mut String) {
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{20}'..='\u{7e}' => out.push(character),
            '\u{80}'.. if !ascii_only => out.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> Reply {
        Reply {
            code: 406, msg: "手机格式不正确，格式为11位的数字.".into(), detail: Detail::Smsid("0".into())
        }
    }

    fn spelt(reply: &Reply, format: Format, wire: &Wire) -> String {
        let mut out = String::new();
        reply.write(format, wire, &mut out);
        out
    }

    #[test]
    fn json_is_flat() {
        let raw = spelt(&refusal(), Format::Json, &Wire::default());
        assert_eq!(raw, r#"{"code":406,"msg":"手机格式不正确，格式为11位的数字.","smsid":"0"}"#);
        let escaped = spelt(&refusal(), Format::Json, &Wire { json_escapes: true, ..Wire::default() });
        assert!(escaped.starts_with(r#"{"code":406,"msg":"\u624b\u673a"#), "{escaped}");
    }

    #[test]
    fn num_is_a_number_or_a_string() {
        let reply = Reply { code: 2, msg: "查询成功".into(), detail: Detail::Num(42) };
        assert_eq!(spelt(&reply, Format::Json, &Wire::default()), r#"{"code":2,"msg":"查询成功","num":42}"#);
        let wire = Wire { num_as_string: true, ..Wire::default() };
        assert_eq!(spelt(&reply, Format::Json, &wire), r#"{"code":2,"msg":"查询成功","num":"42"}"#);
    }

    #[test]
    fn the_namespace_follows_the_host() {
        let xml = spelt(&refusal(), Format::Xml { cn: true }, &Wire::default());
        assert!(xml.contains("<SubmitResult xmlns=\"http://106.ihuyi.cn/\">\n<code>406</code>\n"), "{xml}");
        let bare = spelt(&refusal(), Format::Xml { cn: false }, &Wire { no_namespace: true, ..Wire::default() });
        assert!(bare.contains("\n<SubmitResult>\n"), "{bare}");
    }
}
