//! Whatever the text, a right signature is right: in the query and in a form body.

use dispatcher::simulator::{Options, Rules};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::wire::{Client, MOBILE, Submit, start};

#[test]
fn any_text_arrives_as_signed_by_get_and_post() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rules = Rules { per_second: 0, content_max: usize::MAX, ..Rules::default() };
    let simulator = runtime.block_on(start(Options { rules, ..Options::default() }));
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() });
    let texts = prop_oneof![any::<String>(), "[%&+=|#;? A-Fa-f0-9您好]{1,40}", "\\PC{1,300}"];
    let outcome = runner.run(&texts.prop_filter("404", |text| !text.is_empty()), |text| {
        runtime.block_on(async {
            let mut client = Client::connect(&simulator).await;
            let submit = Submit::dynamic(MOBILE, &text).json();
            for request in [submit.post(), submit.get()] {
                let code = client.call(request).await.code();
                prop_assert!(code == 2 || code == 4074, "{code}: an emoji is all that may be wrong");
                let entry = simulator.submissions().pop().unwrap();
                prop_assert_eq!(&entry.content, &text);
            }
            Ok(())
        })
    });
    outcome.unwrap();
}

#[test]
fn one_changed_byte_breaks_the_signature() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let simulator = runtime.block_on(start(Options::default()));
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() });
    let outcome = runner.run(&("\\PC{1,30}", "[a-z%+& ]"), |(text, added)| {
        runtime.block_on(async {
            let tampered = Submit::dynamic(MOBILE, &text).with("content", &format!("{text}{added}"));
            let code = Client::connect(&simulator).await.call(tampered.post()).await.code();
            prop_assert_eq!(code, 40502);
            Ok(())
        })
    });
    outcome.unwrap();
}
