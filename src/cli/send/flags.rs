//! One job by flags. They become the same line that stdin would bring, so that one set of rules judges
//! both.

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::value::RawValue;

use crate::cli::exit::WrongUsage;
use crate::domain::job::{OnUnknown, Priority};
use crate::domain::json::write_string;

#[derive(Debug, Args)]
#[group(multiple = true, conflicts_with = "input")]
pub(super) struct JobFlags {
    /// The job's id, your idempotency key: one id is sent once
    #[arg(long)]
    id: Option<String>,
    /// To whom: a mainland number
    #[arg(long)]
    mobile: Option<String>,
    /// The text, without the 【signature】
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    content: Option<String>,
    /// Instead of a text: ihuyi's template
    #[arg(long, value_name = "ID")]
    template_id: Option<String>,
    /// A value for the template; repeated, in order
    #[arg(
        long = "variable",
        visible_alias = "variables",
        value_name = "VALUE",
        requires = "template_id",
        allow_hyphen_values = true
    )]
    variables: Vec<String>,
    /// The account that sends it [default: default_account]
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Not submitted earlier (RFC 3339)
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// Not submitted later (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// What to do when it cannot be known whether ihuyi took it [default: in_doubt.on_unknown]
    #[arg(long, value_parser = PossibleValuesParser::new(OnUnknown::ALL.iter().map(|word| word.as_str())))]
    on_unknown: Option<String>,
    /// Your own data, a JSON object; stored with the job
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// Its queue
    #[arg(long, default_value = "normal",
          value_parser = PossibleValuesParser::new(Priority::ALL.iter().map(|word| word.as_str())))]
    pub priority: String,
}

impl JobFlags {
    /// The job as a line of JSON.
    ///
    /// # Errors
    /// `--metadata` is no JSON. All else is judged where lines are.
    pub fn into_line(self) -> Result<String, WrongUsage> {
        let variables = self.template_id.as_ref().map(|_| list(&self.variables));
        let metadata = self.metadata.map(|text| match serde_json::from_str::<&RawValue>(&text) {
            Ok(_) => Ok(text),
            Err(error) => {
                Err(WrongUsage(format!("--metadata is no JSON ({error}): write it like '{{\"order\":\"1\"}}'")))
            }
        });
        let members = [
            ("id", self.id.as_deref().map(quoted)),
            ("mobile", self.mobile.as_deref().map(quoted)),
            ("content", self.content.as_deref().map(quoted)),
            ("template_id", self.template_id.as_deref().map(quoted)),
            ("variables", variables),
            ("account", self.account.as_deref().map(quoted)),
            ("not_before", self.not_before.as_deref().map(quoted)),
            ("expires_at", self.expires_at.as_deref().map(quoted)),
            ("on_unknown", self.on_unknown.as_deref().map(quoted)),
            ("metadata", metadata.transpose()?),
            ("priority", Some(quoted(&self.priority))),
        ];
        let members: Vec<String> =
            members.into_iter().filter_map(|(name, value)| Some(format!("\"{name}\":{}", value?))).collect();
        Ok(format!("{{{}}}", members.join(",")))
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    write_string(text, &mut out);
    out
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Flags {
        #[arg(long)]
        input: bool,
        #[command(flatten)]
        job: JobFlags,
    }

    fn line(flags: &[&str]) -> Result<String, WrongUsage> {
        Flags::try_parse_from(std::iter::once("send").chain(flags.iter().copied())).unwrap().job.into_line()
    }

    #[test]
    fn flags_become_the_fields_of_a_message() {
        let flags = ["--id", "a", "--mobile", "138 0013 8000", "--content", "“\"\\”", "--priority", "high"];
        assert_eq!(
            line(&flags).unwrap(),
            r#"{"id":"a","mobile":"138 0013 8000","content":"“\"\\”","priority":"high"}"#
        );
        let flags = ["--template-id", "1", "--variable", "2546", "--variable", "x", "--metadata", r#"{"n":1.50}"#];
        assert_eq!(
            line(&flags).unwrap(),
            r#"{"template_id":"1","variables":["2546","x"],"metadata":{"n":1.50},"priority":"normal"}"#
        );
    }

    #[test]
    fn variables_may_be_named_as_in_a_message() {
        let flags = ["--template-id", "1", "--variables", "2546", "--variable", "x", "--variables", "-y"];
        let wanted = r#"{"template_id":"1","variables":["2546","x","-y"],"priority":"normal"}"#;
        assert_eq!(line(&flags).unwrap(), wanted);
    }

    #[test]
    fn metadata_that_is_no_json_is_wrong_usage() {
        assert!(line(&["--metadata", "{order: 1}"]).is_err());
        assert!(line(&["--metadata", "{},\"id\":\"smuggled\""]).is_err());
    }
}
