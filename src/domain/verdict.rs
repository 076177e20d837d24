//! What came back from the gateway, and what it means: the one place where a reply or a transport
//! error becomes an [`Outcome`]. When to try again is decided elsewhere.

use super::codes::{Class, CodeTable};
use super::job::Outcome;

/// What one request came to, as the gateway client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The gateway answered with a code.
    Answer(Answer),
    /// The request certainly did not leave (DNS, connect, TLS, or a connection that closed before
    /// the first byte). The reason holds no URL, number, text or key.
    NotSent(String),
    /// It may have been taken: a time-out or a reset after sending, HTTP other than 200, or a body
    /// that cannot be read. The reason holds no URL, number, text or key.
    Unknown(String),
}

/// A reply that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The response code: the only thing that decides.
    pub code: i64,
    /// The gateway's words, at most 500 characters, without NUL: shown, never interpreted.
    pub message: String,
    /// The gateway's id of the message: opaque digits. `None` when missing, empty or `0`.
    pub smsid: Option<String>,
}

/// What `reply` means for the attempt.
pub fn judge(reply: &Reply, codes: &CodeTable) -> Outcome {
    let answer = match reply {
        Reply::Answer(answer) => answer,
        Reply::NotSent(_) => return Outcome::NotSent,
        Reply::Unknown(_) => return Outcome::Unknown,
    };
    match codes.class(answer.code) {
        // "Taken", but nothing to match a receipt with: not believed.
        Class::Accepted if answer.smsid.is_none() => Outcome::Unknown,
        Class::Accepted => Outcome::Accepted,
        Class::Retry => Outcome::Retry,
        Class::Resign => Outcome::Resign,
        Class::Permanent => Outcome::Permanent,
        Class::Tomorrow => Outcome::Tomorrow,
        Class::Account => Outcome::Account,
        Class::Unknown => Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: i64, smsid: Option<&str>) -> Reply {
        Reply::Answer(Answer { code, message: "提交成功".into(), smsid: smsid.map(str::to_owned) })
    }

    #[test]
    fn the_whole_code_table() {
        let expect = [
            (Outcome::Accepted, &[2][..]),
            (Outcome::Retry, &[0, 4080, 4086, 1, 3, 20, 22, 200, 201, -2, 999, i64::MAX]),
            (Outcome::Resign, &[40501]),
            (Outcome::Permanent, &[403, 404, 406, 407, 4030, 4070, 4071, 4072, 40722, 4073, 4074, 408, 4085]),
            (Outcome::Tomorrow, &[4082, 4084]),
            (Outcome::Account, &[400, 401, 402, 405, 4050, 4051, 4052, 4053, 40502, 4075]),
        ];
        for (outcome, codes) in expect {
            for code in codes {
                assert_eq!(judge(&answer(*code, Some("7")), &CodeTable::default()), outcome, "{code}");
                let without = if *code == 2 { Outcome::Unknown } else { outcome };
                assert_eq!(judge(&answer(*code, None), &CodeTable::default()), without, "{code} without smsid");
            }
        }
    }

    #[test]
    fn an_override_decides() {
        let codes =
            CodeTable::new([(4082, Class::Permanent), (999, Class::Account), (500, Class::Unknown)].into()).unwrap();
        assert_eq!(judge(&answer(4082, None), &codes), Outcome::Permanent);
        assert_eq!(judge(&answer(999, None), &codes), Outcome::Account);
        assert_eq!(judge(&answer(500, None), &codes), Outcome::Unknown);
    }

    #[test]
    fn words_never_decide() {
        assert_eq!(judge(&answer(0, Some("7")), &CodeTable::default()), Outcome::Retry, "`提交成功` with code 0");
    }

    #[test]
    fn a_transport_error_is_what_the_client_says() {
        assert_eq!(judge(&Reply::NotSent("refused".into()), &CodeTable::default()), Outcome::NotSent);
        assert_eq!(judge(&Reply::Unknown("timeout".into()), &CodeTable::default()), Outcome::Unknown);
    }
}
