//! Reviews that ihuyi pushes.

use dispatcher::gateway::{Added, Auth, Client, Credentials, Method};
use dispatcher::simulator::{Options, Reviews, Rules};
use serde_json::json;

use crate::callbacks::world::{World, form};
use crate::support::stage::lenient;
use crate::support::{becomes, number};

fn review(code: &str, id: &str) -> String {
    form(&[("code", code), ("msg", "words"), ("templateid", id)])
}

async fn state(world: &World, id: &str) -> Option<(String, Option<i64>)> {
    let sql = "select state, code from templates where id = $1";
    sqlx::query_as(sql).bind(id).fetch_optional(&world.stage.db.pool).await.unwrap()
}

#[tokio::test]
async fn a_review_is_kept_and_a_repeat_changes_nothing() {
    let mut world = World::silent().await;
    world.stage.start().await;
    world.push("template", review("0", "7")).await;
    assert_eq!(state(&world, "7").await, Some(("refused".into(), Some(0))));
    let at = async || {
        let sql = "select reviewed_at from templates where id = '7'";
        sqlx::query_scalar::<_, chrono::DateTime<chrono::Utc>>(sql).fetch_one(&world.stage.db.pool).await.unwrap()
    };
    let first = at().await;
    world.push("template", review("0", "7")).await;
    assert_eq!(at().await, first);
    // ihuyi may look at it again.
    world.push("template", review("2", "7")).await;
    assert_eq!(state(&world, "7").await, Some(("approved".into(), Some(2))));
    assert_eq!(world.post("template", "code=2").await, (400, "templateid is missing\n".into()));
    let wrong = world.post_to("/ihuyi/template/guess", "application/x-www-form-urlencoded", review("2", "8")).await;
    assert_eq!((wrong.0, state(&world, "8").await), (404, None));
    world.stage.finish().await;
}

#[tokio::test]
async fn a_template_is_registered_reviewed_and_used() {
    let rules = Rules { per_second: 0, strict_templates: true, ..Rules::default() };
    let mut world = World::reviewing(Options { rules, ..lenient() }, Reviews::default()).await;
    let base = format!("http://{}", world.stage.gateway.address());
    let client = Client::new(&crate::gateway::options(&base, Method::Post)).unwrap();
    let key = Credentials { api_id: "C00000001".into(), api_key: "simulated-key".into(), auth: Auth::Dynamic };
    let text = "您的订单【变量】已发货。";
    let Added::Answer { code: 2, id: Some(id), .. } =
        client.add_template(&key, text, chrono::Utc::now().timestamp()).await
    else {
        panic!("it is taken");
    };
    world.stage.set("templates.order.id", &id);
    world.stage.set("templates.order.text", text);
    world.stage.start().await;
    becomes("the review", Some(("approved".into(), Some(2))), async || state(&world, &id).await).await;
    let job = json!({"id": "j", "mobile": number(1), "template_id": "order", "variables": ["77"]});
    world.stage.publish("high", [&job]).await;
    world.stage.settled("j", "accepted").await;
    assert_eq!(world.stage.gateway.submissions()[0].templateid, id);
    world.stage.finish().await;
}
