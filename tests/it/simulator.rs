//! The ihuyi simulator against the wire facts, over raw TCP so that every byte is seen.

mod wire;

use dispatcher::simulator::{Options, Scripted, Simulator};

use wire::{Client, MOBILE, Submit, TEXT};

#[tokio::test]
async fn a_right_submit_is_taken_logged_and_scripts_come_first() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    simulator.script(MOBILE, vec![Scripted::Code(4080, "慢".into())]);
    let mut client = Client::connect(&simulator).await;
    assert_eq!(
        client.call(Submit::dynamic(MOBILE, TEXT).json().post()).await.body,
        r#"{"code":4080,"msg":"慢","smsid":"0"}"#
    );
    let answer = client.call(Submit::dynamic(MOBILE, TEXT).json().get()).await;
    assert_eq!(answer.code(), 2, "{answer:?}");
    let submissions = simulator.wait_for(2).await;
    assert_eq!(submissions[1].code, Some(2));
    assert_eq!(submissions[1].smsid, answer.smsid());
    assert_eq!(submissions[1].content, TEXT);
    simulator.stop().await;
}
