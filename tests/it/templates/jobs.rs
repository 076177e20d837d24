//! Jobs that name a template, and texts that must match one.

use dispatcher::simulator::{Account, Options, Rules, Template};
use serde_json::{Value, json};

use crate::support::number;
use crate::support::stage::{Stage, lenient};

const ORDER: &str = "您的订单【变量】已由【变量】签收。";

/// A gateway that takes approved texts only, and a daemon that knows one of them as `order`.
async fn strict() -> Stage {
    let account = Account { templates: vec![Template::new("277", ORDER)], ..Account::default() };
    let rules = Rules { per_second: 0, strict_templates: true, ..Rules::default() };
    let mut stage = Stage::with(Options { accounts: vec![account], rules, ..lenient() }).await;
    stage.set("templates.order.id", "277");
    stage.set("templates.order.text", ORDER);
    stage
}

fn by_template(id: &str, mobile: usize, template: &str, variables: &[&str]) -> Value {
    json!({"id": id, "mobile": number(mobile), "template_id": template, "variables": variables})
}

async fn rejected(stage: &Stage) -> Vec<String> {
    sqlx::query_scalar("select detail from rejections order by id").fetch_all(&stage.db.pool).await.unwrap()
}

#[tokio::test]
async fn a_job_names_a_template_and_a_bad_one_costs_no_request() {
    let mut stage = strict().await;
    stage.start().await;
    let good = by_template("name", 1, "order", &["77", "门卫"]);
    let by_id = by_template("number", 2, "277", &["78", "门卫"]);
    let few = by_template("few", 3, "order", &["77"]);
    let long = by_template("long", 4, "277", &["77", "一二三四五六七八九"]);
    stage.publish("high", [&good, &by_id, &few, &long]).await;
    stage.states("accepted 2").await;
    stage.metric("jobs_rejected_total", &[("reason", "bad_field")], 2.0).await;
    let mut sent: Vec<_> = stage.gateway.submissions().into_iter().map(|s| (s.templateid, s.content)).collect();
    sent.sort();
    assert_eq!(sent, [("277".into(), "77|门卫".into()), ("277".into(), "78|门卫".to_owned())]);
    let mut details = rejected(&stage).await;
    details.sort();
    assert!(details[0].contains("it takes 2 variables, not 1"), "{details:?}");
    assert!(details[1].contains("variable 2 has 9 characters"), "{details:?}");
    // The row keeps the publisher's word, so that what waits follows a template that is registered anew.
    let kept: String =
        sqlx::query_scalar("select template_id from jobs where id = 'name'").fetch_one(&stage.db.pool).await.unwrap();
    assert_eq!(kept, "order");
    stage.finish().await;
}

#[tokio::test]
async fn a_text_that_matches_no_template_costs_no_request() {
    let mut stage = strict().await;
    stage.set("checks.template", "true");
    stage.start().await;
    let text = |id: &str, mobile, content: &str| json!({"id": id, "mobile": number(mobile), "content": content});
    let good = text("good", 1, "您的订单77已由门卫签收。");
    let bad = text("bad", 2, "您的订单77已经由门卫签收。");
    stage.publish("high", [&good, &bad]).await;
    stage.states("accepted 1").await;
    stage.metric("jobs_rejected_total", &[("reason", "bad_field")], 1.0).await;
    assert_eq!(stage.gateway.stats().submissions, 1);
    assert!(rejected(&stage).await[0].contains("the nearest is order"));
    stage.finish().await;
}

#[tokio::test]
async fn a_check_that_is_off_leaves_the_answer_to_ihuyi() {
    let mut stage = Stage::new().await;
    stage.set("checks.mobile", "false");
    stage.set("checks.length", "false");
    stage.start().await;
    let no_number = json!({"id": "406", "mobile": "12800138000", "content": "好"});
    let long = json!({"id": "4073", "mobile": number(1), "content": "好".repeat(301)});
    let emoji = json!({"id": "4074", "mobile": number(2), "content": "好😀"});
    stage.publish("high", [&no_number, &long, &emoji]).await;
    for (id, code) in [("406", 406), ("4073", 4073), ("4074", 4074)] {
        assert_eq!(stage.settled(id, "failed").await.code, Some(code));
    }
    stage.finish().await;
}
