//! What each response code of ihuyi does. Apart from *when* to retry (`retry`): this table changes
//! without touching the backoff.

use std::collections::BTreeMap;
use std::fmt;

/// What a code of the gateway means for the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The gateway took the message (only with an smsid).
    Accepted,
    /// Try again later, with exponential backoff.
    Retry,
    /// The dynamic password had expired: sign again with a fresh time, at once.
    Resign,
    /// It will never be taken: the job fails.
    Permanent,
    /// The number's daily limit is used up: after the next midnight in Asia/Shanghai.
    Tomorrow,
    /// The account cannot send: it is paused and its jobs park, attempts unspent.
    Account,
    /// Whether it was taken cannot be known: as the job says, in doubt or sent again. No code is by default.
    Unknown,
}

impl Class {
    /// All classes, in the order of the contract's table.
    pub const ALL: [Class; 7] = [
        Class::Accepted,
        Class::Retry,
        Class::Resign,
        Class::Permanent,
        Class::Tomorrow,
        Class::Account,
        Class::Unknown,
    ];

    /// The word in the configuration, in `attempts.outcome` and in metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Accepted => "accepted",
            Class::Retry => "retry",
            Class::Resign => "resign",
            Class::Permanent => "permanent",
            Class::Tomorrow => "tomorrow",
            Class::Account => "account",
            Class::Unknown => "unknown",
        }
    }

    /// The class of that name.
    pub fn parse(text: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The success code.
pub const SUCCESS: i64 = 2;
/// "The same number more than once in the same second": its retry waits at least one second.
pub const SAME_SECOND: i64 = 4080;

/// Code → class: the defaults, with the overrides of `[codes]`.
#[derive(Clone, Debug, Default)]
pub struct CodeTable {
    overrides: BTreeMap<i64, Class>,
}

impl CodeTable {
    /// The default table with `overrides` on top. Success cannot be overridden and no other code
    /// can be made a success: that would record messages as taken that were not.
    pub fn new(overrides: BTreeMap<i64, Class>) -> Result<Self, String> {
        for (code, class) in &overrides {
            if (*code == SUCCESS) != (*class == Class::Accepted) {
                return Err(format!("code {code} cannot be `{class}`: 2, and only 2, is `accepted`"));
            }
        }
        Ok(CodeTable { overrides })
    }

    /// The class of `code`; a code that nobody has listed is retried.
    pub fn class(&self, code: i64) -> Class {
        self.overrides.get(&code).copied().unwrap_or_else(|| default_class(code))
    }
}

/// The contract's table.
fn default_class(code: i64) -> Class {
    match code {
        SUCCESS => Class::Accepted,
        40501 => Class::Resign,
        403 | 404 | 406 | 407 | 4030 | 4070 | 4071 | 4072 | 40722 | 4073 | 4074 | 408 | 4085 => Class::Permanent,
        4082 | 4084 => Class::Tomorrow,
        400 | 401 | 402 | 405 | 4050 | 4051 | 4052 | 4053 | 40502 | 4075 => Class::Account,
        _ => Class::Retry,
    }
}

/// A text in Chinese and in English.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Words {
    /// 中文
    pub zh: &'static str,
    /// English.
    pub en: &'static str,
}

/// A code that ihuyi has published.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The code.
    pub code: i64,
    /// What it says; the Chinese words are ihuyi's.
    pub meaning: Words,
    /// What somebody can do about it. `NAME` stands for the account. Empty where nothing is wrong.
    pub cure: Words,
}

const fn known(code: i64, meaning: [&'static str; 2], cure: [&'static str; 2]) -> Known {
    Known { code, meaning: Words { zh: meaning[0], en: meaning[1] }, cure: Words { zh: cure[0], en: cure[1] } }
}

/// Every code that ihuyi has published: what it says, and the cure. The READMEs repeat this table; a
/// test compares them.
pub const KNOWN: &[Known] = &[
    known(2, ["提交成功", "accepted"], ["", ""]),
    known(0, ["提交失败", "submit failed"], ["一直出现：联系互亿无线", "if it stays: ask ihuyi"]),
    known(
        400,
        ["非法 ip 访问", "illegal source IP"],
        ["在控制台登记本机 IP", "register this machine's IP in the console"],
    ),
    known(401, ["帐号不能为空", "account is empty"], ["填写 accounts.NAME.api_id", "set accounts.NAME.api_id"]),
    known(402, ["密码不能为空", "password is empty"], ["填写 accounts.NAME.api_key", "set accounts.NAME.api_key"]),
    known(403, ["手机号码不能为空", "mobile is empty"], ["不会出现：事先已检查", "does not occur: checked before"]),
    known(404, ["短信内容不能为空", "content is empty"], ["不会出现：事先已检查", "does not occur: checked before"]),
    known(
        405,
        ["API ID 或 API KEY 不正确", "API ID or API KEY is wrong"],
        ["与控制台核对两者", "compare both with the console"],
    ),
    known(406, ["手机格式不正确", "bad mobile format"], ["改正号码", "correct the number"]),
    known(407, ["短信内容含有敏感字符", "content holds sensitive words"], ["修改内容", "change the text"]),
    known(
        408,
        ["发送超限，已加入黑名单", "over the sending limit, blacklisted until lifted in the console"],
        ["在控制台解除", "lift it in the console"],
    ),
    known(
        4030,
        ["手机号码已被列入黑名单", "the number is on the blacklist"],
        ["无需处理：对方不愿接收", "nothing: the person does not want it"],
    ),
    known(4050, ["账号被冻结", "the account is frozen"], ["联系互亿无线", "ask ihuyi"]),
    known(
        4051,
        ["剩余条数不足", "no balance left"],
        ["充值，之后账号自动恢复", "top up: the account resumes by itself"],
    ),
    known(
        4052,
        ["访问 ip 与备案 ip 不符", "the source IP is not the registered one"],
        ["在控制台登记本机 IP", "register this machine's IP in the console"],
    ),
    known(4053, ["用户不存在", "no such user"], ["改正 accounts.NAME.api_id", "correct accounts.NAME.api_id"]),
    known(
        40501,
        ["动态密码已过期", "the dynamic password expired"],
        [
            "一直出现：校准本机时钟（NTP），校准后账号数秒内自行恢复",
            "if it stays: set the machine's clock (NTP); the account then resumes by itself, within seconds",
        ],
    ),
    known(
        40502,
        ["动态密码校验失败", "the dynamic password is wrong"],
        ["与控制台核对 APIKEY", "compare the APIKEY with the console"],
    ),
    known(
        4070,
        ["签名格式不正确", "signature format is wrong"],
        ["正文里不要写【签名】，或先报备签名", "leave the 【signature】 out of the text, or register it"],
    ),
    known(4071, ["没有提交备案模板", "no template registered"], ["先报备模板", "register one"]),
    known(
        4072,
        ["短信内容与模板不匹配", "content does not match an approved template"],
        ["与模板逐字一致", "match it to the character"],
    ),
    known(40722, ["变量内容超过指定的长度", "a variable is too long"], ["缩短变量", "shorten it"]),
    known(
        4073,
        ["短信内容超出长度限制", "content too long"],
        ["缩短内容，调低 gateway.content_max", "shorten it; lower gateway.content_max"],
    ),
    known(4074, ["短信内容包含 emoji 符号", "content contains emoji"], ["去掉 emoji", "remove them"]),
    known(
        4075,
        ["签名未通过审核", "the signature is not approved yet"],
        ["等待审核，之后账号自动恢复", "wait for ihuyi: the account resumes by itself"],
    ),
    known(
        4080,
        ["同一手机号码同一秒钟之内发送频率不能超过 1 条", "the same number more than once in the same second"],
        ["是否有别的系统在用同一账号？", "does another system send by the same account?"],
    ),
    known(
        4082,
        ["超出同一手机号一天之内短信限制", "over the number's daily limit"],
        ["明天自动再发；可在控制台调高上限", "it goes tomorrow by itself; the limit can be raised in the console"],
    ),
    known(
        4084,
        ["同一手机号一天之内超出四条", "over four a day for the number"],
        ["明天自动再发", "it goes tomorrow by itself"],
    ),
    known(
        4085,
        ["同一手机号验证码短信发送超出限制", "over the number's verification-code limit"],
        ["在控制台调高上限", "raise it in the console"],
    ),
    known(4086, ["发送过于频繁", "too frequent"], ["调低 accounts.NAME.rate", "lower accounts.NAME.rate"]),
];

/// For a code that ihuyi has not published.
const UNPUBLISHED: Words = Words {
    zh: "互亿无线未公布此返回码：请联系互亿无线，并在 [codes] 中指定类别",
    en: "ihuyi has not published this code: ask them, and set its class in [codes]",
};

fn find(code: i64) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.code == code)
}

/// What a code means, in Chinese (ihuyi's words) and in English; `None` for a code that ihuyi has
/// not published.
pub fn meaning(code: i64) -> Option<(&'static str, &'static str)> {
    find(code).map(|known| (known.meaning.zh, known.meaning.en))
}

/// What somebody can do about a code; `None` for success.
pub fn cure(code: i64) -> Option<Words> {
    let cure = find(code).map_or(UNPUBLISHED, |known| known.cure);
    (!cure.en.is_empty()).then_some(cure)
}

/// Every code that ihuyi has published; they have five digits at most.
pub fn published() -> impl Iterator<Item = i64> {
    (0..=99_999).filter(|code| meaning(*code).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_contracts() {
        let table = CodeTable::default();
        let expect = [
            (Class::Accepted, &[2][..]),
            (Class::Retry, &[0, 4080, 4086, 999, -1, 201, 20]),
            (Class::Resign, &[40501]),
            (Class::Permanent, &[403, 404, 406, 407, 4030, 4070, 4071, 4072, 40722, 4073, 4074, 408, 4085]),
            (Class::Tomorrow, &[4082, 4084]),
            (Class::Account, &[400, 401, 402, 405, 4050, 4051, 4052, 4053, 40502, 4075]),
        ];
        for (class, codes) in expect {
            for code in codes {
                assert_eq!(table.class(*code), class, "{code}");
            }
        }
    }

    #[test]
    fn an_override_counts_and_success_stays_success() {
        let table = CodeTable::new([(4082, Class::Permanent)].into()).unwrap();
        assert_eq!(table.class(4082), Class::Permanent);
        assert_eq!(table.class(4084), Class::Tomorrow);
        assert!(CodeTable::new([(2, Class::Retry)].into()).is_err());
        assert!(CodeTable::new([(0, Class::Accepted)].into()).is_err());
    }

    #[test]
    fn names_round_trip() {
        for class in Class::ALL {
            assert_eq!(Class::parse(class.as_str()), Some(class));
        }
        assert_eq!(Class::parse("Retry"), None);
    }

    #[test]
    fn every_code_stands_once_and_all_but_success_have_a_cure_in_both_languages() {
        for known in KNOWN {
            assert_eq!(KNOWN.iter().filter(|other| other.code == known.code).count(), 1, "{}", known.code);
            assert!(!known.meaning.zh.is_empty() && !known.meaning.en.is_empty(), "{}", known.code);
            assert_eq!(known.cure.zh.is_empty(), known.cure.en.is_empty(), "{}", known.code);
            assert_eq!(cure(known.code).is_none(), known.code == SUCCESS, "{}", known.code);
        }
        assert_eq!(cure(777), Some(UNPUBLISHED));
    }
}
