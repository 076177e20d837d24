//! A job's story for people: what it is, what happened in order, what comes next.

use crate::cli::table::clean;
use crate::cli::when;
use crate::explain::{Cure, Event, Story};
use crate::store::query::JobInfo;

/// The page of `job`. Several lines.
pub(super) fn tell(job: &JobInfo, story: &Story) -> String {
    let mut lines = vec![format!("{}: {}", job.id, super::state(job)), String::new()];
    lines.extend(facts(job).into_iter().map(|(name, value)| format!("{name:<10} {}", clean(&value))));
    lines.push(String::new());
    lines.extend(events(&story.events));
    lines.push(String::new());
    lines.push(format!("Next: {}.", clean(&story.next.text)));
    lines.extend(story.next.cure.as_ref().map(|cure| format!("Cure: {}", both(cure))));
    if !story.next.commands.is_empty() {
        lines.push("You can:".into());
        lines.extend(story.next.commands.iter().map(|command| format!("  {}", clean(command))));
    }
    lines.join("\n")
}

fn facts(job: &JobInfo) -> Vec<(&'static str, String)> {
    let mut facts = vec![("number", job.mobile.clone())];
    facts.extend(job.content.as_ref().map(|text| ("text", text.clone())));
    if let Some(id) = &job.template_id {
        facts.push(("template", format!("{id}: {}", job.variables.as_deref().unwrap_or_default().join("|"))));
    }
    facts.push(("account", job.account.clone()));
    facts.push(("priority", job.priority.clone()));
    facts.extend(job.not_before.map(|at| ("not before", when::show(at))));
    facts.extend(job.expires_at.map(|at| ("expires", when::show(at))));
    facts.extend(job.smsid.as_ref().map(|smsid| ("smsid", smsid.clone())));
    facts.extend(job.metadata.as_ref().map(|metadata| ("metadata", metadata.get().to_owned())));
    facts.push(("times", format!("UTC{}", when::zone(job.updated_at))));
    facts
}

/// A line an event, and the cure of its code below, once for a run of the same code.
fn events(events: &[Event]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut told = None;
    for event in events {
        lines.push(format!("{}  {}", when::show_exactly(event.at), clean(&event.text)));
        if let Some(cure) = event.cure.as_ref().filter(|_| event.code != told) {
            lines.push(format!("{:23}  cure: {}", "", both(cure)));
        }
        told = event.code.or(told);
    }
    lines
}

fn both(cure: &Cure) -> String {
    format!("{} ({})", cure.en, cure.zh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::Timestamp;
    use crate::explain::{Next, What};

    fn event(seconds: i64, code: Option<i64>, cure: Option<Cure>) -> Event {
        let at = Timestamp::from_timestamp(seconds, 0).unwrap();
        Event { at, event: What::Request, text: "request\x1b[2J".into(), code, meaning: None, cure }
    }

    #[test]
    fn a_cure_is_told_once_for_a_run_of_one_code() {
        let cure = |en: &str| Some(Cure { zh: "充值".into(), en: en.into() });
        let all = [event(1, Some(4051), cure("top up")), event(2, Some(4051), cure("top up")), event(3, Some(2), None)];
        let lines = events(&all);
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(lines[0].ends_with("  request\u{fffd}[2J"), "{lines:?}");
        assert_eq!(lines[1].trim(), "cure: top up (充值)");
    }

    #[test]
    fn commands_stand_alone_on_their_lines() {
        let next = Next {
            text: "held".into(),
            until: None,
            ahead: None,
            cure: None,
            commands: vec!["dispatcher jobs cancel a".into()],
        };
        let told = tell(&crate::explain::a_job("waiting"), &Story { events: Vec::new(), next });
        assert!(told.ends_with("Next: held.\nYou can:\n  dispatcher jobs cancel a"), "{told}");
    }
}
