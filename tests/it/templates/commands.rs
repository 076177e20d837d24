//! `dispatcher templates`.

use dispatcher::simulator::{Account, Options, Simulator};

use crate::support::stage::lenient;
use crate::support::{Run, TestDb, dispatcher};

const ORDER: &str = "您的订单【变量】已由【变量】签收。";

fn configured(arguments: &[&str]) -> Run {
    let run = dispatcher(arguments).env("DISPATCHER__TEMPLATES__ORDER__ID", "277");
    run.env("DISPATCHER__TEMPLATES__ORDER__TEXT", ORDER)
}

#[test]
fn a_job_is_checked_without_a_service() {
    assert_eq!(configured(&["templates", "check", "order", "77", "门卫"]).ok(), "it suits template order\n");
    assert_eq!(configured(&["templates", "check", "277", "77", "门卫", "--json"]).json()["template"], "order");
    let text = |text: &str| configured(&["templates", "check", "--content", text]).run();
    assert_eq!(text("您的订单77已由门卫签收。").code, 0);
    for (run, words) in [
        (configured(&["templates", "check", "order", "77"]).run(), "template order: it takes 2 variables, not 1"),
        (configured(&["templates", "check", "order", "77", "一二三四五六七八九"]).run(), "variable 2 has 9 characters"),
        (configured(&["templates", "check", "ordre", "77"]).run(), "`ordre` is not configured: name one of order"),
        (text("您的订单77已经签收。"), "the nearest is order: the text differs from it behind character 4"),
    ] {
        assert!(run.code == 1 && run.stdout.contains(words), "{run:?}");
    }
    let none = dispatcher(&["templates", "check", "order"]).run();
    assert!(none.code == 1 && none.stderr.contains("no template is configured"), "{none:?}");
    assert_eq!(configured(&["templates", "check"]).run().code, 2);
}

fn on(db: &TestDb, simulator: &Simulator, auth: &str, arguments: &[&str]) -> Run {
    let account = |key: &str| format!("DISPATCHER__ACCOUNTS__MAIN__{key}");
    let run = configured(arguments).postgres(db.url()).env("DISPATCHER__GATEWAY__SUBMIT_URL", &simulator.submit_url());
    let run = run.env(&account("API_ID"), "C00000001").env(&account("API_KEY"), "simulated-key");
    run.env(&account("AUTH"), auth)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_registered_and_noted() {
    let simulator = Simulator::start(Options { accounts: vec![Account::default()], ..lenient() }).await.unwrap();
    let db = TestDb::create();
    on(&db, &simulator, "dynamic", &["migrate"]).ok();
    let mut ids = Vec::new();
    for (auth, flags) in [("dynamic", &[][..]), ("static", &[]), ("dynamic", &["--auth", "md5", "--json"])] {
        let arguments = [&["templates", "add", "您的订单【单号】已发货。"][..], flags].concat();
        ids.push(on(&db, &simulator, auth, &arguments).ok());
    }
    assert_eq!(ids[0], "100001 is registered for main and waits for ihuyi's review\n");
    assert!(ids[2].contains("\"id\": \"100003\""), "{}", ids[2]);
    let list = on(&db, &simulator, "dynamic", &["templates", "list", "--json"]).json();
    let row = |n: usize, field: &str| list[n][field].as_str().unwrap_or_default().to_owned();
    assert_eq!((row(0, "name"), row(0, "state"), row(0, "content")), ("order".into(), "unknown".into(), ORDER.into()));
    // ihuyi knows no other word for a variable.
    assert_eq!((row(1, "id"), row(1, "content")), ("100001".into(), "您的订单【变量】已发货。".into()));
    assert_eq!((row(1, "state"), row(1, "account")), ("pending".into(), "main".into()));
    db.execute("do $$ begin assert (select count(*) from operations where action = 'add_template') = 3; end $$");
    let refused = on(&db, &simulator, "dynamic", &["templates", "add", "【签名】您的订单【变量】已发货。"]).run();
    assert!(refused.code == 1 && refused.stderr.contains("leave a signature out"), "{refused:?}");
    simulator.set_account("C00000001", |account| account.frozen = true);
    let frozen = on(&db, &simulator, "dynamic", &["templates", "add", "您的订单【变量】已发货。"]).run();
    assert!(frozen.code == 1 && frozen.stderr.contains("code 4050"), "{frozen:?}");
    simulator.stop().await;
}
