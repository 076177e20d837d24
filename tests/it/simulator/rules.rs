//! The order of checks, limits, content rules, templates and billing.

use dispatcher::simulator::{Account, Options, Rules, Simulator, Template};

use super::wire::{ACCOUNT, Client, KEY, MOBILE, Submit, TEXT, start, unix_now};

async fn with_rules(rules: Rules) -> Simulator {
    start(Options { rules, ..Options::default() }).await
}

async fn code(simulator: &Simulator, submit: Submit) -> i64 {
    Client::connect(simulator).await.call(submit.post()).await.code()
}

/// Everything is wrong at first; each step mends what the code before complained of.
#[tokio::test]
async fn checks_come_in_the_documented_order() {
    let simulator = with_rules(Rules {
        per_day: 1,
        rolling_second: true,
        blacklist: ["13900139000".to_owned()].into(),
        sensitive: vec!["发票".into()],
        strict_templates: true,
        ..Rules::default()
    })
    .await;
    let account = |change: fn(&mut Account)| assert!(simulator.set_account(ACCOUNT, change));
    account(|account| {
        account.frozen = true;
        account.ip_illegal = true;
        account.ip_denied = true;
        account.signature_pending = true;
        account.balance = 0;
        account.templates.clear();
    });
    let too_long = format!("【x】发票😀{}", "长".repeat(300));
    let mut submit = Submit::of(&[]);
    let expect = async |expected: i64, submit: &Submit| {
        assert_eq!(code(&simulator, submit.clone()).await, expected);
    };
    expect(401, &submit).await;
    submit = submit.with("account", "C99999999");
    expect(402, &submit).await;
    submit = submit.with("password", "wrong");
    expect(403, &submit).await;
    submit = submit.with("mobile", "1380013800a");
    expect(404, &submit).await;
    submit = submit.with("content", &too_long);
    expect(405, &submit).await;
    submit = submit.with("account", ACCOUNT).with("time", "1451544941");
    expect(40501, &submit).await;
    submit = submit.with("time", &unix_now().to_string());
    expect(40502, &submit).await;
    submit = submit.with("password", KEY);
    expect(4050, &submit).await;
    account(|account| account.frozen = false);
    expect(400, &submit).await;
    account(|account| account.ip_illegal = false);
    expect(4052, &submit).await;
    account(|account| account.ip_denied = false);
    expect(406, &submit).await;
    submit = submit.with("mobile", "13900139000");
    expect(4030, &submit).await;
    submit = submit.with("mobile", MOBILE);
    expect(4073, &submit).await;
    submit = submit.with("content", "【x】发票😀");
    expect(4074, &submit).await;
    submit = submit.with("content", "【x】发票");
    expect(407, &submit).await;
    submit = submit.with("content", "【x】您好");
    expect(4070, &submit).await;
    submit = submit.with("content", "您好");
    expect(4075, &submit).await;
    account(|account| account.signature_pending = false);
    expect(4071, &submit).await;
    account(|account| account.templates.push(Template::test()));
    expect(4072, &submit).await;
    submit = submit.with("templateid", "1").with("content", "123456789");
    expect(40722, &submit).await;
    submit = submit.with("content", "1234");
    expect(4051, &submit).await;
    account(|account| account.balance = 1);
    expect(2, &submit).await;
    expect(4080, &submit).await;
}

#[tokio::test]
async fn a_number_gets_so_many_a_second_and_a_day() {
    let per_second = with_rules(Rules { rolling_second: true, per_second: 2, ..Rules::default() }).await;
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(code(&per_second, Submit::dynamic(MOBILE, TEXT)).await);
    }
    assert_eq!(codes, [2, 2, 4080]);
    assert_eq!(code(&per_second, Submit::dynamic("13800138001", TEXT)).await, 2, "limits are a number's own");

    let per_day = with_rules(Rules { per_second: 0, per_day: 2, ..Rules::default() }).await;
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(code(&per_day, Submit::dynamic(MOBILE, TEXT)).await);
    }
    assert_eq!(codes, [2, 2, 4082]);

    let verification = with_rules(Rules { per_second: 0, codes_per_day: 1, ..Rules::default() }).await;
    assert_eq!(code(&verification, Submit::dynamic(MOBILE, TEXT)).await, 2);
    assert_eq!(code(&verification, Submit::dynamic(MOBILE, TEXT)).await, 4085);
    assert_eq!(code(&verification, Submit::dynamic(MOBILE, "您的订单已发货")).await, 2);
}

#[tokio::test]
async fn a_refused_message_counts_towards_no_limit() {
    let simulator = with_rules(Rules { per_second: 0, per_day: 1, ..Rules::default() }).await;
    for _ in 0..3 {
        assert_eq!(code(&simulator, Submit::dynamic(MOBILE, "好😀")).await, 4074);
    }
    assert_eq!(code(&simulator, Submit::dynamic(MOBILE, "好")).await, 2);
}

#[tokio::test]
async fn too_many_in_all_blacklist_a_number_until_it_is_lifted() {
    let simulator = with_rules(Rules { per_second: 0, abuse_after: 1, ..Rules::default() }).await;
    assert_eq!(code(&simulator, Submit::dynamic(MOBILE, TEXT)).await, 2);
    assert_eq!(code(&simulator, Submit::dynamic(MOBILE, TEXT)).await, 408);
    simulator.lift(MOBILE);
    assert_eq!(code(&simulator, Submit::dynamic(MOBILE, TEXT)).await, 2);
}

#[tokio::test]
async fn a_mobile_is_exactly_one_number_of_11_digits() {
    let simulator = with_rules(Rules { per_second: 0, ..Rules::default() }).await;
    for wrong in [
        "+8613800138000",
        "8613800138000",
        "138 0013 8000",
        "13800138000,13800138001",
        "12800138000",
        "１３８００１３８０００",
    ] {
        assert_eq!(code(&simulator, Submit::dynamic(wrong, TEXT)).await, 406, "{wrong}");
    }
    for right in ["13800138000", "19912345678", "16612345678"] {
        assert_eq!(code(&simulator, Submit::dynamic(right, TEXT)).await, 2, "{right}");
    }
}

#[tokio::test]
async fn a_text_matches_an_approved_template_to_the_character() {
    let simulator = with_rules(Rules { per_second: 0, strict_templates: true, ..Rules::default() }).await;
    assert_eq!(code(&simulator, Submit::dynamic(MOBILE, TEXT)).await, 2);
    for wrong in [&TEXT.replace('：', ":"), &format!("{TEXT} "), "您的验证码是：。请不要把验证码泄露给其他人。"]
    {
        assert_eq!(code(&simulator, Submit::dynamic(MOBILE, wrong)).await, 4072, "{wrong}");
    }
    let template_mode = |content, id| Submit::dynamic(MOBILE, content).with("templateid", id);
    assert_eq!(code(&simulator, template_mode("12345678", "1")).await, 2);
    assert_eq!(code(&simulator, template_mode("123456789", "1")).await, 40722);
    assert_eq!(code(&simulator, template_mode("1|2", "1")).await, 4072);
    assert_eq!(code(&simulator, template_mode("1", "2")).await, 4071);
    assert_eq!(simulator.submissions()[4].templateid, "1");
}

#[tokio::test]
async fn without_strict_templates_any_text_will_do() {
    let simulator = with_rules(Rules { per_second: 0, content_max: 3, ..Rules::default() }).await;
    assert_eq!(code(&simulator, Submit::dynamic(MOBILE, "任意字")).await, 2);
    assert_eq!(code(&simulator, Submit::dynamic(MOBILE, "任意文字")).await, 4073);
    assert_eq!(code(&simulator, Submit::dynamic(MOBILE, "a|b").with("templateid", "77")).await, 2);
}

#[tokio::test]
async fn parts_are_billed_on_success_only() {
    let simulator = with_rules(Rules { per_second: 0, ..Rules::default() }).await;
    simulator.set_account(ACCOUNT, |account| account.balance = 4);
    // With 【互亿无线】, 64 characters make 70, 65 make 71.
    assert_eq!(code(&simulator, Submit::dynamic(MOBILE, &"字".repeat(64))).await, 2);
    assert_eq!(code(&simulator, Submit::dynamic(MOBILE, &"字".repeat(65))).await, 2);
    assert_eq!(code(&simulator, Submit::dynamic(MOBILE, &"字".repeat(65))).await, 4051);
    assert_eq!(code(&simulator, Submit::dynamic("1", "字")).await, 406);
    assert_eq!(code(&simulator, Submit::dynamic(MOBILE, "字")).await, 2);
    assert_eq!(code(&simulator, Submit::dynamic(MOBILE, "字")).await, 4051);
    assert_eq!(simulator.stats().parts, 4);
    simulator.set_account(ACCOUNT, |account| account.balance = 1);
    assert_eq!(code(&simulator, Submit::dynamic(MOBILE, "字")).await, 2);
}

#[tokio::test]
async fn accounts_are_apart_and_a_key_may_change() {
    let accounts = vec![Account::new("cf_old", "k1"), Account::new("C00000002", "k2")];
    let simulator = start(Options { accounts, ..Options::default() }).await;
    simulator.set_account("cf_old", |account| account.balance = 0);
    let submit = |id, key, mobile| Submit::signed(id, key, mobile, TEXT, unix_now());
    assert_eq!(code(&simulator, submit("cf_old", "k1", MOBILE)).await, 4051);
    assert_eq!(code(&simulator, submit("C00000002", "k2", MOBILE)).await, 2);
    assert_eq!(code(&simulator, submit("C00000002", "k1", MOBILE)).await, 40502);
    simulator.set_account("C00000002", |account| account.key = "k3".into());
    assert_eq!(code(&simulator, submit("C00000002", "k3", "13800138001")).await, 2);
    assert!(!simulator.set_account("nobody", |_| {}));
}
