//! The gateway's judgement of a request: pure but for its own memory, with the clock as an argument.

use std::time::Duration;

use md5::{Digest, Md5};

use super::content;
use super::limits::Limits;
use super::options::{Account, Rules, Template};
use super::params::Params;

/// Accounts, rules and what was accepted so far.
#[derive(Debug)]
pub struct Gateway {
    accounts: Vec<Account>,
    rules: Rules,
    window: Duration,
    limits: Limits,
    /// The last ten digits of the next smsid.
    serial: u64,
    /// Templates that will be approved: when, and of which account.
    coming: Vec<(Duration, usize, Template)>,
    /// The number of the template that was registered last.
    templates: u64,
}

/// Numbers of templates that are registered begin above this one.
const FIRST_TEMPLATE: u64 = 100_000;

/// A message that the gateway took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// 20 digits: ten of the Unix time, ten of a serial number.
    pub smsid: String,
    /// What was billed.
    pub parts: u64,
}

impl Gateway {
    /// A gateway that has accepted nothing yet. Serials begin at `serial`.
    pub fn new(accounts: Vec<Account>, rules: Rules, window: Duration, serial: u64) -> Self {
        let limits = Limits::default();
        Self { accounts, rules, window, limits, serial, coming: Vec::new(), templates: FIRST_TEMPLATE }
    }

    /// Judges a submit in the gateway's order of checks; an error is the response code. `now` is the time
    /// since the Unix epoch.
    pub fn submit(&mut self, request: &Params<'_>, now: Duration) -> Result<Accepted, i64> {
        require(&[(&request.account, 401), (&request.password, 402), (&request.mobile, 403), (&request.content, 404)])?;
        let index = self.find_account(&request.account)?;
        self.approve(now);
        self.check_password(&self.accounts[index], request, &[&request.mobile, &request.content], now)?;
        let account = &self.accounts[index];
        check_standing(account)?;
        let mobile = parse_mobile(&request.mobile).ok_or(406)?;
        if self.is_blacklisted(&request.mobile) {
            return Err(4030);
        }
        // A text that is no UTF-8 (a GBK body, say) arrives garbled, and matches no template.
        let text = std::str::from_utf8(&request.content).map_err(|_| 4072_i64)?;
        let templateid = String::from_utf8_lossy(&request.templateid);
        self.check_content(account, &templateid, text)?;
        let verification = text.contains("验证码");
        self.limits.check(mobile, verification, &self.rules, now)?;
        let parts = content::parts(&account.signature, &content::rendered(account, &templateid, text));
        let account = &mut self.accounts[index];
        account.balance = account.balance.checked_sub(parts).ok_or(4051)?;
        self.limits.record(mobile, verification, &self.rules, now);
        Ok(Accepted { smsid: self.next_smsid(now), parts })
    }

    /// Judges a balance query. Its documented refusals are 400, 401, 402, 405 and 4050 only, so every wrong
    /// password is 405 and every wrong address 400.
    pub fn balance(&self, request: &Params<'_>, now: Duration) -> Result<u64, i64> {
        require(&[(&request.account, 401), (&request.password, 402)])?;
        let account = &self.accounts[self.find_account(&request.account).map_err(|_| 405)?];
        self.check_password(account, request, &[], now).map_err(|_| 405)?;
        check_standing(account).map_err(|code| if code == 4050 { 4050 } else { 400 })?;
        Ok(account.balance)
    }

    /// Registers a template: its number. Which passwords are taken is not published: the static key, its MD5,
    /// and the one that GetNum takes.
    pub fn add_template(&mut self, request: &Params<'_>, now: Duration) -> Result<String, i64> {
        require(&[(&request.account, 401), (&request.password, 402), (&request.content, 404)])?;
        let account = &self.accounts[self.find_account(&request.account)?];
        let hashed = hex(Md5::digest(&account.key));
        if *request.password != hashed {
            self.check_password(account, request, &[], now)?;
        }
        check_standing(account)?;
        if content::has_bad_signature(&String::from_utf8_lossy(&request.content)) {
            return Err(4070);
        }
        self.templates += 1;
        Ok(self.templates.to_string())
    }

    /// From `at` on, the template can be used.
    pub fn will_approve(&mut self, request: &Params<'_>, id: &str, at: Duration) {
        if let Ok(index) = self.find_account(&request.account) {
            self.coming.push((at, index, Template::new(id, String::from_utf8_lossy(&request.content))));
        }
    }

    fn approve(&mut self, now: Duration) {
        let accounts = &mut self.accounts;
        self.coming.retain(|(at, index, template)| {
            let is_due = *at <= now;
            if is_due {
                accounts[*index].templates.push(template.clone());
            }
            !is_due
        });
    }

    /// A serial number for a message accepted at `now`.
    pub fn next_smsid(&mut self, now: Duration) -> String {
        let serial = self.serial;
        self.serial = (serial + 1) % 10_000_000_000;
        format!("{:010}{serial:010}", now.as_secs())
    }

    /// The account of this id, to be changed.
    pub fn account_mut(&mut self, id: &str) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.id == id)
    }

    /// Lifts the blacklisting of 408.
    pub fn lift(&mut self, mobile: &str) {
        if let Some(mobile) = parse_mobile(mobile.as_bytes()) {
            self.limits.lift(mobile);
        }
    }

    fn find_account(&self, id: &[u8]) -> Result<usize, i64> {
        let unknown = if self.rules.unknown_is_4053 { 4053 } else { 405 };
        self.accounts.iter().position(|account| account.id.as_bytes() == id).ok_or(unknown)
    }

    /// The static key, or `md5(account + key + signed… + time)` with a `time` inside the window.
    fn check_password(
        &self,
        account: &Account,
        request: &Params<'_>,
        signed: &[&[u8]],
        now: Duration,
    ) -> Result<(), i64> {
        let is_static = *request.password == *account.key.as_bytes();
        if request.time.is_empty() {
            return if is_static { Ok(()) } else { Err(405) };
        }
        if is_static && self.rules.static_with_time {
            return Ok(());
        }
        let sent = parse_time(&request.time).ok_or(40501)?;
        if now.as_secs().abs_diff(sent) > self.window.as_secs() {
            return Err(40501);
        }
        let right = dynamic_password(account, signed, &request.time);
        if *request.password == right { Ok(()) } else { Err(40502) }
    }

    fn is_blacklisted(&self, mobile: &[u8]) -> bool {
        !self.rules.blacklist.is_empty()
            && std::str::from_utf8(mobile).is_ok_and(|mobile| self.rules.blacklist.contains(mobile))
    }

    fn check_content(&self, account: &Account, templateid: &str, text: &str) -> Result<(), i64> {
        if text.chars().count() > self.rules.content_max {
            return Err(4073);
        }
        if content::has_emoji(text) {
            return Err(4074);
        }
        if self.rules.sensitive.iter().any(|word| text.contains(word)) {
            return Err(407);
        }
        if self.rules.strict_templates && content::has_bad_signature(text) {
            return Err(4070);
        }
        if account.signature_pending {
            return Err(4075);
        }
        if self.rules.strict_templates { content::check_templates(account, templateid, text) } else { Ok(()) }
    }
}

/// The code of the first value that is empty.
fn require(values: &[(&[u8], i64)]) -> Result<(), i64> {
    values.iter().find(|(value, _)| value.is_empty()).map_or(Ok(()), |(_, code)| Err(*code))
}

fn check_standing(account: &Account) -> Result<(), i64> {
    if account.frozen {
        Err(4050)
    } else if account.ip_illegal {
        Err(400)
    } else if account.ip_denied {
        Err(4052)
    } else {
        Ok(())
    }
}

/// 11 digits, `1[3-9]` first.
fn parse_mobile(mobile: &[u8]) -> Option<u64> {
    let well_formed = mobile.len() == 11 && mobile[0] == b'1' && mobile[1] >= b'3' && is_digits(mobile);
    if well_formed { parse_digits(mobile) } else { None }
}

/// Ten digits of Unix seconds.
fn parse_time(time: &[u8]) -> Option<u64> {
    if time.len() == 10 && is_digits(time) { parse_digits(time) } else { None }
}

fn is_digits(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit)
}

fn parse_digits(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Lower-case hex of the MD5 of the plain concatenation.
fn dynamic_password(account: &Account, signed: &[&[u8]], time: &[u8]) -> [u8; 32] {
    let mut digest = Md5::new();
    digest.update(&account.id);
    digest.update(&account.key);
    for value in signed {
        digest.update(value);
    }
    digest.update(time);
    hex(digest.finalize())
}

/// Lower-case hex.
fn hex(digest: impl IntoIterator<Item = u8>) -> [u8; 32] {
    let mut hex = [0; 32];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(digest) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    hex
}

const HEX: &[u8; 16] = b"0123456789abcdef";
