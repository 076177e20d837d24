//! Whether an account may send: what its answers say about that, and what follows.

use std::collections::HashSet;

use super::park::PAUSED;
use super::{Pacer, Tick, Ticket, Turn};
use crate::domain::job::Outcome;
use crate::domain::mobile::Mobile;

/// Whether an account may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It may.
    Active,
    /// It may not; its jobs park.
    Paused,
    /// It may send one job, to see whether it is cured.
    Probing {
        /// The one job is under way.
        out: bool,
    },
}

/// What an answer changed for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It cannot send, by the answer's own word: it is paused.
    Faulty,
    /// So many numbers in a row were refused for good: it is paused, before a backlog is burnt.
    Refusing(u32),
    /// Its probe was taken: it resumes.
    Cured,
}

/// A run of permanent refusals, nothing accepted in between: a template that was taken down refuses
/// every job, and each would be `failed`. Numbers are counted, not answers: one bad number that is
/// sent to again and again says nothing about the account.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// So many numbers make a run; 0: never.
    limit: u32,
    numbers: HashSet<u64>,
    /// A run has paused the account, and nothing was accepted since.
    full: bool,
}

impl Refusals {
    pub fn new(limit: u32) -> Self {
        Refusals { limit, ..Refusals::default() }
    }

    /// Hears an answer. The length of the run, if that is reason enough to pause.
    fn heard(&mut self, outcome: Outcome, mobile: Mobile) -> Option<u32> {
        match outcome {
            Outcome::Accepted => self.clear(),
            Outcome::Permanent if self.limit > 0 => {
                // Bounded: a full run needs no more numbers.
                if !self.full {
                    self.numbers.insert(mobile.as_u64());
                }
                self.full |= self.numbers.len() >= self.limit as usize;
            }
            _ => {}
        }
        (self.full && outcome == Outcome::Permanent).then_some(self.limit)
    }

    fn clear(&mut self) {
        self.numbers.clear();
        self.full = false;
    }
}

impl Pacer {
    /// The account's mode.
    pub fn mode(&self, account: usize) -> Mode {
        self.accounts[account].mode
    }

    /// Changes the account's mode; pausing parks what waits for it in memory.
    pub fn set_mode(&mut self, account: usize, mode: Mode, now: Tick) {
        self.accounts[account].mode = mode;
        self.note_what_is_waited_for(account, now);
        match mode {
            Mode::Active => self.accounts[account].refusals.clear(),
            Mode::Paused => self.park_waiting(account, now),
            Mode::Probing { .. } => {}
        }
        self.advance_account(account, now);
    }

    fn park_waiting(&mut self, account: usize, now: Tick) {
        let waiting: Vec<Ticket> = self.waiting(|entry| entry.request.account == account);
        waiting.into_iter().for_each(|ticket| self.withdraw(ticket, Turn::Park(PAUSED), now));
    }

    /// A run of refusals has paused the account under a former owner: the next refusal does again.
    pub fn remember_refusals(&mut self, account: usize) {
        self.accounts[account].refusals.full = true;
    }

    /// An answer to a job of `account` for `mobile`: pauses an account that cannot send, resumes one
    /// whose probe was taken. `ticket`: none for an attempt that went past the limiters.
    pub fn heard(
        &mut self,
        account: usize,
        ticket: Option<Ticket>,
        outcome: Outcome,
        mobile: Mobile,
        now: Tick,
    ) -> Option<News> {
        let run = self.accounts[account].refusals.heard(outcome, mobile);
        match (outcome, run, self.mode(account)) {
            (_, _, Mode::Paused) => None,
            (Outcome::Account, ..) => {
                self.set_mode(account, Mode::Paused, now);
                Some(News::Faulty)
            }
            (_, Some(run), _) => {
                self.set_mode(account, Mode::Paused, now);
                Some(News::Refusing(run))
            }
            // It resumes once that is committed.
            (Outcome::Accepted, _, Mode::Probing { .. }) => Some(News::Cured),
            // What was wrong was the job, or its number, or the password's time: the next one probes.
            (Outcome::Permanent | Outcome::Tomorrow | Outcome::Resign, _, Mode::Probing { .. }) => {
                self.set_mode(account, Mode::Probing { out: false }, now);
                None
            }
            // Nobody knows whether it is cured: the next probe is after the next answer about its balance, so that
            // attempts and doubts are not spent one after the other. An answer to what had left before the pause does
            // not speak for the probe.
            (Outcome::Retry | Outcome::Unknown | Outcome::NotSent, _, Mode::Probing { .. }) => {
                if ticket.is_some() && ticket == self.accounts[account].probe {
                    self.set_mode(account, Mode::Paused, now);
                }
                None
            }
            (_, _, Mode::Active) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AccountPace, Bucket};
    use super::*;

    fn mobile(n: u32) -> Mobile {
        Mobile::parse(&format!("138{n:08}")).unwrap()
    }

    #[test]
    fn a_run_is_of_distinct_numbers_and_an_acceptance_ends_it() {
        let mut refusals = Refusals::new(3);
        for n in [1, 1, 1, 2] {
            assert_eq!(refusals.heard(Outcome::Permanent, mobile(n)), None);
        }
        assert_eq!(refusals.heard(Outcome::Accepted, mobile(3)), None);
        for n in [1, 2] {
            assert_eq!(refusals.heard(Outcome::Permanent, mobile(n)), None);
        }
        // It cannot be told from these whether the account is at fault.
        for outcome in [Outcome::Retry, Outcome::Unknown, Outcome::Tomorrow, Outcome::NotSent, Outcome::Resign] {
            assert_eq!(refusals.heard(outcome, mobile(4)), None);
        }
        assert_eq!(refusals.heard(Outcome::Permanent, mobile(3)), Some(3));
        // Until something is accepted, each one more says the same.
        assert_eq!(refusals.heard(Outcome::Retry, mobile(9)), None);
        assert_eq!(refusals.heard(Outcome::Permanent, mobile(1)), Some(3));
        refusals.heard(Outcome::Accepted, mobile(1));
        assert_eq!(refusals.heard(Outcome::Permanent, mobile(1)), None);
    }

    #[test]
    fn a_probe_that_shows_nothing_waits_for_the_next_question() {
        let bucket = Bucket { period: Tick::from_millis(10), burst: 1 };
        let account = AccountPace { bucket, max_in_flight: 1, refusals: 20 };
        let after = |outcome| {
            let mut pacer = Pacer::new(bucket, std::slice::from_ref(&account), Tick::ZERO);
            pacer.set_mode(0, Mode::Probing { out: true }, Tick::ZERO);
            pacer.accounts[0].probe = Some(7);
            let news = pacer.heard(0, Some(7), outcome, mobile(1), Tick::ZERO);
            (pacer.mode(0), news.is_some())
        };
        for outcome in [Outcome::Retry, Outcome::Unknown, Outcome::NotSent] {
            assert_eq!(after(outcome), (Mode::Paused, false), "{outcome:?}");
        }
        for outcome in [Outcome::Permanent, Outcome::Tomorrow, Outcome::Resign] {
            assert_eq!(after(outcome), (Mode::Probing { out: false }, false), "{outcome:?}");
        }
        assert!(after(Outcome::Account).1 && after(Outcome::Accepted).1);
    }

    #[test]
    fn a_limit_of_nothing_is_never_reached() {
        let mut refusals = Refusals::new(0);
        assert!((0..1_000).all(|n| refusals.heard(Outcome::Permanent, mobile(n)).is_none()));
    }
}
