//! What people answer.

use chrono::Utc;
use serde_json::Value;

use super::world::{World, form, reply};
use crate::support::{becomes, job, number};

async fn events(world: &World) -> Vec<(Option<String>, Value)> {
    let sql = "select job_id, data from told where type = 'reply.received' order by id";
    sqlx::query_as(sql).fetch_all(&world.stage.db.pool).await.unwrap()
}

#[tokio::test]
async fn a_reply_belongs_to_the_last_job_of_its_number() {
    let mut world = World::silent().await;
    world.stage.start().await;
    let mut smsids = Vec::new();
    for id in ["first", "last", "failed"] {
        if id == "failed" {
            world.stage.gateway.script(&number(1), vec![dispatcher::simulator::Scripted::Code(4072, "x".into())]);
        }
        world.stage.publish("high", [&job(id, &number(1))]).await;
        let state = if id == "failed" { "failed" } else { "accepted" };
        smsids.push(world.stage.settled(id, state).await.smsid);
    }
    // A receipt of the first changes the first; it is not the last for that.
    let smsid = smsids[0].clone().unwrap();
    world.push("receipt", super::world::receipt("2", &number(1), &smsid, Utc::now())).await;
    // By the simulator, with an smsid that means nothing.
    assert!(world.stage.gateway.reply(&number(1), "好的 & 谢谢", "12345678"));
    becomes("replies", 1, async || world.stage.db.count("replies where job_id = 'last'").await).await;
    let told = events(&world).await;
    assert_eq!(told.len(), 1);
    let (job_id, data) = &told[0];
    assert_eq!((job_id.as_deref(), &data["id"]), (Some("last"), &"last".into()));
    assert_eq!((&data["mobile"], &data["content"]), (&number(1).into(), &"好的 & 谢谢".into()));
    let at: chrono::DateTime<Utc> = data["at"].as_str().unwrap().parse().unwrap();
    assert!((Utc::now() - at).num_seconds() < 60, "{at}");
    world.stage.metric("replies_total", &[], 1.0).await;
    world.stage.finish().await;
}

#[tokio::test]
async fn a_reply_of_a_stranger_is_kept_and_a_repeat_is_not_told_again() {
    let mut world = World::silent().await;
    world.stage.start().await;
    let said = reply(&number(1), "你是谁", Utc::now());
    for _ in 0..3 {
        world.push("reply", said.clone()).await;
    }
    world.push("reply", form(&[("mobilephone", &number(1)), ("content", "")])).await;
    assert_eq!(world.stage.db.count("replies where job_id is null").await, 2);
    let told = events(&world).await;
    assert_eq!((told.len(), &told[0].0, &told[0].1["id"]), (2, &None, &Value::Null));
    assert_eq!(world.stage.db.count("suppressions").await, 0);
    world.stage.finish_with_backlog().await;
}

#[tokio::test]
async fn opt_out_words_suppress_the_number() {
    let mut world = World::silent().await;
    world.stage.start().await;
    for (n, word) in ["TD", " ｔｄ ", "t", "退订", "不退订", "TDD"].into_iter().enumerate() {
        world.push("reply", reply(&number(n), word, Utc::now())).await;
    }
    let sql = "select mobile, reason, added_by from suppressions order by mobile";
    let rows: Vec<(String, String, String)> = sqlx::query_as(sql).fetch_all(&world.stage.db.pool).await.unwrap();
    let row = |n, word: &str| (number(n), word.to_owned(), "reply".to_owned());
    assert_eq!(rows, [row(0, "TD"), row(1, "TD"), row(2, "T"), row(3, "退订")]);
    assert_eq!(events(&world).await.len(), 6);
    world.stage.finish_with_backlog().await;
}

#[tokio::test]
async fn the_words_are_configured_and_a_repeat_does_not_undo_a_removal() {
    let mut world = World::silent().await;
    world.stage.set("callbacks.opt_out", "STOP,拒收");
    world.stage.start().await;
    world.push("reply", reply(&number(1), "TD", Utc::now())).await;
    let stop = reply(&number(2), "stop", Utc::now());
    world.push("reply", stop.clone()).await;
    assert_eq!(world.stage.db.count("suppressions where reason = 'STOP'").await, 1);
    world.stage.db.execute("delete from suppressions").await;
    world.push("reply", stop).await;
    assert_eq!(world.stage.db.count("suppressions").await, 0);
    world.stage.finish_with_backlog().await;
}
