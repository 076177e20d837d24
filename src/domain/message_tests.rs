use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::template::Template;
use super::*;

fn rules() -> Rules {
    Rules {
        content_max: 300,
        default_account: "main".into(),
        accounts: ["main".to_owned(), "backup".to_owned()].into(),
        on_unknown: OnUnknown::Hold,
        checks: Default::default(),
        templates: Default::default(),
    }
}

fn with_key(key: &str) -> Properties {
    Properties { routing_key: key.into(), ..Properties::default() }
}

fn read(body: impl AsRef<[u8]>) -> Result<Job, Rejection> {
    decode(body.as_ref(), &with_key("high.13800138000"), &rules())
}

fn minimal() -> Value {
    json!({"id": "order-1", "mobile": "13800138000", "content": "您的订单已发货"})
}

/// The minimal message with `changes` on top; a change to `null` removes the field.
fn changed(changes: Value) -> String {
    let mut body = minimal();
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

/// Asserts a rejection and returns its detail, which must never quote the text or the number.
fn refused(body: impl AsRef<[u8]>, reason: RejectReason) -> String {
    let rejection = read(body.as_ref()).expect_err(&String::from_utf8_lossy(body.as_ref()));
    assert_eq!(rejection.reason, reason, "{}", rejection.detail);
    assert!(!rejection.detail.contains("13800138000"), "{}", rejection.detail);
    assert!(!rejection.detail.contains("订单"), "{}", rejection.detail);
    rejection.detail
}

#[test]
fn the_least_message_takes_the_defaults() {
    let job = read(minimal().to_string()).unwrap();
    let expect = Job {
        id: "order-1".into(),
        mobile: Mobile::parse("13800138000").unwrap(),
        payload: Payload::Text("您的订单已发货".into()),
        account: "main".into(),
        priority: Priority::High,
        not_before: None,
        expires_at: None,
        on_unknown: OnUnknown::Hold,
        metadata: None,
        published_at: None,
        traceparent: None,
    };
    assert_eq!(job, expect);
}

#[test]
fn every_field_is_read() {
    let body = json!({
        "id": "order-2", "mobile": "+86 138-0013-8000", "template_id": "1", "variables": ["张三", "8888"],
        "account": "backup", "not_before": "2026-11-11T09:30:00+08:00", "expires_at": "2026-11-11T02:00:00.5Z",
        "on_unknown": "resend", "metadata": {"order": {"no": 17, "tags": ["a", null]}},
    });
    let properties = Properties {
        message_id: Some("another".into()),
        routing_key: "bulk.13800138000".into(),
        timestamp_ms: Some(1_794_000_000_123),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
    };
    let job = decode(body.to_string().as_bytes(), &properties, &rules()).unwrap();
    assert_eq!(job.id, "order-2", "the body wins over message_id");
    assert_eq!(job.mobile.digits(), "13800138000");
    assert_eq!(job.payload.content(), "张三|8888");
    assert_eq!(job.payload.template_id(), Some("1"));
    assert_eq!(job.account, "backup");
    assert_eq!(job.priority, Priority::Bulk);
    assert_eq!(job.not_before.unwrap().to_rfc3339(), "2026-11-11T01:30:00+00:00");
    assert_eq!(job.expires_at.unwrap().to_rfc3339(), "2026-11-11T02:00:00.500+00:00");
    assert_eq!(job.on_unknown, OnUnknown::Resend);
    assert_eq!(job.metadata.as_deref(), Some(r#"{"order":{"no":17,"tags":["a",null]}}"#));
    assert_eq!(job.published_at.unwrap().timestamp_millis(), 1_794_000_000_123);
    assert!(job.traceparent.is_some());
}

#[test]
fn null_counts_as_absent() {
    let job = read(changed(json!({
        "template_id": null, "variables": null, "account": null, "not_before": null, "expires_at": null,
        "on_unknown": null, "metadata": null,
    })));
    assert_eq!(job, read(minimal().to_string()));
    for field in ["id", "mobile", "content"] {
        let detail = refused(changed(json!({ field: null })), RejectReason::BadField);
        assert!(detail.contains(field) && detail.contains("missing"), "{detail}");
    }
}

#[test]
fn the_id_may_come_from_the_message_id() {
    let properties = Properties { message_id: Some("m-1".into()), ..Properties::default() };
    let job = decode(changed(json!({"id": null})).as_bytes(), &properties, &rules()).unwrap();
    assert_eq!((job.id.as_str(), job.priority), ("m-1", Priority::Normal));
    let properties = Properties { message_id: Some("号".into()), ..Properties::default() };
    let rejection = decode(changed(json!({"id": null})).as_bytes(), &properties, &rules()).unwrap_err();
    assert!(rejection.detail.contains("message_id"), "{}", rejection.detail);
}

#[test]
fn bad_values_name_their_field() {
    let long = "x".repeat(129);
    let many = "字".repeat(301);
    for (changes, field) in [
        (json!({"id": ""}), "id"),
        (json!({ "id": long }), "id"),
        (json!({"id": "订单"}), "id"),
        (json!({"id": "a\nb"}), "id"),
        (json!({"id": 7}), "id"),
        (json!({"mobile": 13_800_138_000_u64}), "mobile"),
        (json!({"mobile": "12800138000"}), "mobile"),
        (json!({"mobile": ["13800138000"]}), "mobile"),
        (json!({"content": ""}), "content"),
        (json!({ "content": many }), "content"),
        (json!({"content": {"text": "订单"}}), "content"),
        (json!({"content": true}), "content"),
        (json!({"template_id": "1"}), "content"),
        (json!({"variables": ["a"]}), "content"),
        (json!({"content": null, "template_id": "1"}), "variables"),
        (json!({"content": null, "variables": ["a"]}), "template_id"),
        (json!({"content": null, "template_id": "", "variables": ["a"]}), "template_id"),
        (json!({"content": null, "template_id": 1, "variables": ["a"]}), "template_id"),
        (json!({"content": null, "template_id": "1", "variables": []}), "variables"),
        (json!({"content": null, "template_id": "1", "variables": [""]}), "variables"),
        (json!({"content": null, "template_id": "1", "variables": "订单"}), "variables"),
        (json!({"content": null, "template_id": "1", "variables": ["a", 7]}), "variables[1]"),
        (json!({"content": null, "template_id": "1", "variables": ["订|单"]}), "variables[0]"),
        (json!({"content": null, "template_id": "1", "variables": [many]}), "variables"),
        (json!({"account": 7}), "account"),
        (json!({"not_before": "2026-11-11T09:30:00"}), "not_before"),
        (json!({"not_before": "2026-11-11"}), "not_before"),
        (json!({"expires_at": 1_794_000_000}), "expires_at"),
        (json!({"expires_at": "2026-02-30T00:00:00Z"}), "expires_at"),
        (json!({"on_unknown": "HOLD"}), "on_unknown"),
        (json!({"metadata": []}), "metadata"),
        (json!({"metadata": "订单"}), "metadata"),
        (json!({"metadata": {"k": "v".repeat(4096)}}), "metadata"),
        (json!({"prio": "high"}), "prio"),
    ] {
        let detail = refused(changed(changes.clone()), RejectReason::BadField);
        assert!(detail.contains(&format!("`{field}")), "{changes}: {detail}");
    }
}

#[test]
fn bounds_are_inclusive() {
    for changes in [
        json!({"id": "x".repeat(128)}),
        json!({"id": "a b ~!"}),
        json!({"content": "字".repeat(300)}),
        json!({"content": "|"}),
        json!({"content": null, "template_id": "t".repeat(64), "variables": ["字".repeat(149), "字".repeat(150)]}),
        json!({"metadata": {"k": "v".repeat(4096 - 8)}}),
        json!({"not_before": "2026-11-11T09:30:00+08:00", "expires_at": "2026-11-11T01:30:00Z"}),
        json!({"expires_at": "1999-01-01T00:00:00Z"}),
    ] {
        assert!(read(changed(changes.clone())).is_ok(), "{changes}");
    }
    let variables = json!(["字".repeat(150), "字".repeat(150)]);
    refused(changed(json!({"content": null, "template_id": "1", "variables": variables})), RejectReason::BadField);
}

#[test]
fn names_are_checked_without_being_quoted_blindly() {
    let detail = refused(r#"{"id":"a","mobile":"13800138000","content":"订单","id":"b"}"#, RejectReason::BadField);
    assert!(detail.contains("`id` stands twice"), "{detail}");
    refused(r#"{"id":"a","mobile":"13800138000","content":"x","content":null}"#, RejectReason::BadField);
    refused(changed(json!({"13800138000": 1})), RejectReason::BadField);
    refused(changed(json!({"您的订单": 1})), RejectReason::BadField);
    refused(changed(json!({"account": "13800138000"})), RejectReason::UnknownAccount);
    let detail = refused(changed(json!({"account": "marketing"})), RejectReason::UnknownAccount);
    assert!(detail.contains("`marketing`") && detail.contains("backup, main"), "{detail}");
    let twice = r#"{"id":"a","mobile":"13800138000","content":"x","metadata":{"k":{"a":1,"a":2}}}"#;
    refused(twice, RejectReason::BadField);
}

#[test]
fn the_window_must_not_be_empty() {
    let late = json!({"not_before": "2026-11-11T09:30:01+08:00", "expires_at": "2026-11-11T01:30:00Z"});
    let detail = refused(changed(late), RejectReason::BadWindow);
    assert!(detail.contains("not_before") && detail.contains("expires_at"), "{detail}");
}

#[test]
fn nul_is_refused_wherever_it_stands() {
    for changes in [
        json!({"id": "a\0"}),
        json!({"mobile": "13800138000\0"}),
        json!({"content": "\0"}),
        json!({"content": null, "template_id": "1", "variables": ["a", "\0"]}),
        json!({"account": "\0"}),
        json!({"metadata": {"k": {"x": ["\0"]}}}),
        json!({"metadata": {"k": {"x\0": 1}}}),
    ] {
        let field = changes.as_object().unwrap().keys().next_back().unwrap().clone();
        let detail = refused(changed(changes), RejectReason::Nul);
        assert!(detail.contains(&format!("`{field}`")), "{field}: {detail}");
    }
    refused(b"{\"id\":\"a\0\"}", RejectReason::Nul);
    refused("{\"id\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(), RejectReason::Nul);
    let properties = Properties { message_id: Some("a\0".into()), ..Properties::default() };
    let rejection = decode(changed(json!({"id": null})).as_bytes(), &properties, &rules()).unwrap_err();
    assert_eq!(rejection.reason, RejectReason::Nul);
    assert!(read(changed(json!({"content": "a backslash: \\u0000"}))).is_ok());
}

#[test]
fn what_is_no_json_object_is_bad_json() {
    let long = format!("{{\"id\":\"{}\"}}", "x".repeat(MAX_BODY));
    let deep_metadata = format!("{{\"id\":\"a\",\"metadata\":{{\"k\":{}", "[".repeat(10_000));
    let bodies: [&[u8]; 18] = [
        b"",
        b" ",
        b"{",
        b"[]",
        b"null",
        b"\"x\"",
        b"7",
        b"{\"id\":\"a\"} x",
        b"{'id':'a'}",
        b"{\"id\":\"a\",}",
        b"{\"metadata\":{\"k\":1e999}}",
        b"{\"id\":\"\xff\"}",
        b"{\"id\":\"\\ud800\"}",
        b"\xef\xbb\xbf{}",
        b"\xc4\xfa\xb5\xc4",
        long.as_bytes(),
        deep_metadata.as_bytes(),
        b"id=a&mobile=13800138000",
    ];
    for body in bodies {
        refused(body, RejectReason::BadJson);
    }
    for open in ["[", "{\"id\":"] {
        refused(open.repeat(10_000), RejectReason::BadJson);
    }
    let deep = format!("{{\"metadata\":{{\"k\":{}{}}}}}", "[".repeat(10_000), "]".repeat(10_000));
    refused(deep, RejectReason::BadJson);
}

#[test]
fn odd_properties_are_no_rejection() {
    let at = |timestamp_ms| {
        let properties = Properties { timestamp_ms, ..Properties::default() };
        decode(minimal().to_string().as_bytes(), &properties, &rules()).unwrap().published_at
    };
    assert_eq!(at(Some(1_794_000_000)).unwrap().timestamp_millis(), 1_794_000_000_000);
    assert_eq!(at(Some(1_794_000_000_123)).unwrap().timestamp_millis(), 1_794_000_000_123);
    for odd in [None, Some(0), Some(-5), Some(i64::MAX), Some(i64::MIN)] {
        assert_eq!(at(odd), None, "{odd:?}");
    }
}

#[test]
fn only_a_well_formed_traceparent_is_continued() {
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert!(is_traceparent(good));
    assert!(is_traceparent(&format!("01{}-more", &good[2..])));
    for bad in [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\0",
    ] {
        assert!(!is_traceparent(bad), "{bad}");
    }
}

fn any_text(pattern: &str) -> impl Strategy<Value = String> + use<> {
    proptest::string::string_regex(pattern).unwrap()
}

fn any_payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        any_text("[^\0]{1,300}").prop_map(Payload::Text),
        (any_text("[ -~]{1,64}"), prop::collection::vec(any_text("[^\0|]{1,20}"), 1..5))
            .prop_map(|(id, variables)| Payload::Template { id, variables }),
    ]
}

fn any_metadata() -> impl Strategy<Value = Option<String>> {
    let value = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|thousandths| Value::from(f64::from(thousandths) / 1000.0)),
        any_text("[^\0]{0,20}").prop_map(Value::from),
        Just(Value::Null),
    ];
    let object = prop::collection::btree_map(any_text("[^\0]{0,10}"), value, 0..5);
    prop::option::of(object.prop_map(|members| json!(members).to_string()))
}

fn any_time() -> impl Strategy<Value = Option<Timestamp>> {
    prop::option::of((0_i64..4_000_000_000_000).prop_map(|ms| DateTime::from_timestamp_millis(ms).unwrap()))
}

prop_compose! {
    fn any_job()(
        id in any_text("[ -~]{1,128}"),
        mobile in 13_000_000_000_u64..20_000_000_000,
        payload in any_payload(),
        account in prop_oneof![Just("main"), Just("backup")],
        priority in prop::sample::select(Priority::ALL),
        (a, b) in (any_time(), any_time()),
        on_unknown in prop::sample::select(OnUnknown::ALL),
        metadata in any_metadata(),
        published in prop::option::of(100_000_000_000_i64..4_000_000_000_000),
        trace in prop::option::of((1_u128.., 1_u64..)),
    ) -> Job {
        let both = a.is_some() && b.is_some();
        Job {
            id,
            mobile: Mobile::parse(&mobile.to_string()).unwrap(),
            payload,
            account: account.into(),
            priority,
            not_before: if both { a.min(b) } else { a },
            expires_at: if both { a.max(b) } else { b },
            on_unknown,
            metadata,
            published_at: published.and_then(DateTime::from_timestamp_millis),
            traceparent: trace.map(|(trace, span)| format!("00-{trace:032x}-{span:016x}-01")),
        }
    }
}

proptest! {
    #[test]
    fn what_we_publish_is_what_we_read(job in any_job()) {
        prop_assert_eq!(decode(&encode(&job), &properties(&job), &rules()), Ok(job));
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(body);
    }

    #[test]
    fn no_json_makes_it_panic(field in prop::sample::select(&FIELDS[..]), text in "\\PC{0,40}", number in any::<f64>()) {
        for value in [json!(text), json!(number), json!([text]), json!({text.clone(): number})] {
            let _ = read(changed(json!({ field: value })));
        }
    }
}

fn with_templates(checks: Checks) -> Rules {
    let template = |id: &str, text: &str| Template::new(id, text, 8).unwrap();
    let (code, order) = (template("7", "您的验证码是：【变量】。"), template("8", "订单【变量】已由【变量】签收。"));
    let templates = Templates::new([("code".into(), code), ("order".into(), order)].into());
    Rules { checks, templates, ..rules() }
}

/// What is wrong with the minimal message and these changes; `None` where nothing is.
fn judged(rules: &Rules, changes: Value) -> Option<String> {
    decode(changed(changes).as_bytes(), &with_key("high.1"), rules).err().map(|rejection| {
        assert_eq!(rejection.reason, RejectReason::BadField);
        rejection.detail
    })
}

#[test]
fn variables_must_suit_a_template_that_is_known() {
    let rules = with_templates(Checks::default());
    let job = |id: &str, variables: &[&str]| {
        judged(&rules, json!({"content": null, "template_id": id, "variables": variables}))
    };
    for id in ["order", "8"] {
        assert_eq!(job(id, &["77", "门卫"]), None);
        assert_eq!(job(id, &["77"]).unwrap(), "`variables`: template order: it takes 2 variables, not 1");
        let long = job(id, &["77", "123456789"]).unwrap();
        let words = "template order: variable 2 has 9 characters, and it takes at most 8: shorten it, or raise \
                     templates.order.variable_max";
        assert!(long.ends_with(words), "{long}");
    }
    assert_eq!(job("99", &["a variable of any length"]), None, "ihuyi knows more templates than the configuration");
}

#[test]
fn each_check_can_be_left_to_ihuyi() {
    let none = Checks { mobile: false, length: false, emoji: false, template: false };
    let refused = |checks: Checks, changes: Value| judged(&with_templates(checks), changes);
    for (on, changes, words) in [
        (Checks { mobile: true, ..none }, json!({"mobile": "12800138000"}), "must begin with 13 to 19"),
        (Checks { length: true, ..none }, json!({"content": "好".repeat(301)}), "at most 300 characters"),
        (Checks { emoji: true, ..none }, json!({"content": "好😀"}), "`content` holds an emoji"),
        (
            Checks { emoji: true, ..none },
            json!({"content": null, "template_id": "7", "variables": ["😀"]}),
            "`variables` holds an emoji",
        ),
        (
            Checks { template: true, ..none },
            json!({"content": "您的验证码为：2546。"}),
            "matches no configured template (4072); the nearest is code: the text differs from it behind character 5",
        ),
    ] {
        let detail = refused(on, changes.clone()).unwrap();
        assert!(detail.contains(words) && !detail.contains("2546"), "{detail}");
        assert_eq!(refused(none, changes), None, "{words}");
    }
    assert_eq!(refused(Checks { template: true, ..none }, json!({"content": "您的验证码是：2546。"})), None);
    assert!(refused(none, json!({"mobile": "1380013800"})).is_some(), "it is no number");
}

#[test]
fn what_was_taken_once_is_taken_when_it_comes_back() {
    let all = Checks { mobile: true, length: true, emoji: true, template: true };
    let body = changed(json!({"mobile": "12800138000", "content": "😀".repeat(301)}));
    let read = |decode: fn(&[u8], &Properties, &Rules) -> Result<Job, Rejection>| {
        decode(body.as_bytes(), &with_key("high.1"), &with_templates(all))
    };
    assert!(read(decode).is_err() && read(decode_released).is_ok());
}

#[test]
fn a_window_that_a_replay_has_closed_holds_no_job_back() {
    let body = changed(json!({"not_before": "2030-01-01T00:00:01Z", "expires_at": "2030-01-01T00:00:00Z"}));
    let read = |decode: fn(&[u8], &Properties, &Rules) -> Result<Job, Rejection>| {
        decode(body.as_bytes(), &with_key("high.1"), &with_templates(Checks::default()))
    };
    assert!(read(decode).is_err() && read(decode_released).is_ok());
}

#[test]
fn an_account_is_named_in_whatever_else_is_wrong() {
    let named = |body: &str| account_named(body.as_bytes());
    assert_eq!(named(r#"{"id": 7, "account": "main"}"#).as_deref(), Some("main"));
    for body in ["", "[]", "{}", r#"{"account": 7}"#, r#"{"account": null}"#] {
        assert_eq!(named(body), None, "{body}");
    }
}
