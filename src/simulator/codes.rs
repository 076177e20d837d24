//! The words that go with each response code.

/// A code was accepted; every other one is a refusal.
pub const ACCEPTED: i64 = 2;

/// The gateway's text for `code`, as its documentation words it. Texts vary between the gateway's
/// versions, so no client may rely on them; a code that nobody documents gets the text of 0.
pub fn message(code: i64) -> &'static str {
    match code {
        2 => "提交成功",
        400 => "非法ip访问",
        401 => "帐号不能为空",
        402 => "密码不能为空",
        403 => "手机号码不能为空",
        404 => "短信内容不能为空",
        4030 => "手机号码已被列入黑名单",
        405 => "API ID 或 API KEY 不正确",
        4050 => "账号被冻结",
        4051 => "剩余条数不足",
        4052 => "访问ip与备案ip不符",
        4053 => "用户不存在",
        40501 => "动态密码已过期",
        40502 => "动态密码校验失败",
        406 => "手机格式不正确，格式为11位的数字.",
        407 => "短信内容含有敏感字符",
        4070 => "签名格式不正确",
        4071 => "没有提交备案模板",
        4072 => "提交的短信内容与审核通过的模板内容不匹配",
        40722 => "变量内容超过指定的长度【8】",
        4073 => "短信内容超出长度限制",
        4074 => "短信内容包含emoji符号",
        4075 => "签名未通过审核",
        408 => "发送超限（[20]条），已加入黑名单，可登入平台解除",
        4080 => "同一手机号码同一秒钟之内发送频率不能超过1条",
        4082 => "超出同一手机号一天之内【5】条短信限制",
        4084 => "超出同一手机号一天之内【4】条短信限制",
        4085 => "同一手机号验证码短信发送超出【5】条",
        4086 => "提交过于频繁",
        _ => "提交失败",
    }
}

/// The text of a successful balance query.
pub const BALANCE_FOUND: &str = "查询成功";
