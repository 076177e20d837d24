//! What an account's balance tells: how long it lasts, and whether it falls by what was sent.

use std::collections::VecDeque;
use std::time::Duration;

/// The pace is that of so long, or of the last two looks where these are further apart.
const WINDOW: Duration = Duration::from_secs(3_600);

/// One look at a balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// When: since whatever was the start.
    pub at: Duration,
    /// Message parts left.
    pub left: i64,
    /// Parts of all messages that were accepted until then, counted from the same start.
    pub parts: u64,
}

/// The looks at one account.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Of the window, the oldest first, and one from before.
    looks: VecDeque<Look>,
    /// Accepted parts that the balance has not fallen by yet.
    ahead: i64,
}

impl Watch {
    /// Takes a look; the parts by which the balance has fallen beyond what was accepted since the one before.
    /// A balance that has risen was topped up, and says nothing. `on_wire`: as many messages may be billed
    /// there and not accepted here yet, or the other way round; what evens out later is counted once at most.
    pub fn look(&mut self, look: Look, on_wire: u32) -> u64 {
        let Some(last) = self.looks.back().copied() else {
            self.looks.push_back(look);
            return 0;
        };
        self.looks.push_back(look);
        while self.looks.len() > 2 && look.at.saturating_sub(self.looks[1].at) >= WINDOW {
            self.looks.pop_front();
        }
        let fall = last.left.saturating_sub(look.left);
        if fall < 0 {
            self.ahead = 0;
            return 0;
        }
        let accepted = accepted(last, look);
        let beyond = fall.saturating_sub(accepted).saturating_sub(self.ahead);
        // More than that was not billed because of a top-up, or will never be.
        self.ahead = beyond.saturating_neg().clamp(0, i64::from(on_wire));
        beyond.max(0).unsigned_abs()
    }

    /// For how many hours the balance lasts at the pace of the last hour, by what was accepted or by the
    /// fall, whichever is faster (others may use the account). `None` where nothing went, or it is unknown.
    pub fn hours(&self) -> Option<f64> {
        let (first, last) = (self.looks.front()?, self.looks.back()?);
        let spent = accepted(*first, *last).max(first.left.saturating_sub(last.left));
        let hours = last.at.saturating_sub(first.at).as_secs_f64() / 3_600.0;
        (spent > 0 && hours > 0.0).then(|| last.left.max(0) as f64 * hours / spent as f64)
    }
}

/// Parts that were accepted between two looks.
fn accepted(from: Look, to: Look) -> i64 {
    i64::try_from(to.parts.saturating_sub(from.parts)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks five minutes apart; what each found beyond.
    fn beyond(watch: &mut Watch, looks: &[(i64, u64)]) -> Vec<u64> {
        let begin = watch.looks.back().map_or(0, |look| look.at.as_secs() + 300);
        let at = |n: usize| Duration::from_secs(begin + 300 * n as u64);
        let looks = looks.iter().enumerate().map(|(n, (left, parts))| Look { at: at(n), left: *left, parts: *parts });
        looks.map(|look| watch.look(look, 10)).collect()
    }

    #[test]
    fn a_fall_beyond_what_was_accepted_is_counted_once() {
        let mut watch = Watch::default();
        assert_eq!(beyond(&mut watch, &[(1_000, 0), (900, 100), (793, 200), (693, 300)]), [0, 0, 7, 0]);
    }

    #[test]
    fn what_is_on_the_wire_evens_out() {
        let mut watch = Watch::default();
        // Accepted and not billed yet, then billed.
        assert_eq!(beyond(&mut watch, &[(1_000, 0), (905, 100), (800, 200), (700, 300)]), [0; 4]);
    }

    #[test]
    fn a_top_up_says_nothing_and_hides_little() {
        let mut watch = Watch::default();
        assert_eq!(beyond(&mut watch, &[(100, 0), (5_000, 50), (4_900, 150), (4_700, 250)]), [0, 0, 0, 100]);
        // One that is smaller than what was sent looks like parts that were not billed.
        assert_eq!(beyond(&mut watch, &[(4_650, 400), (4_530, 500)]), [0, 10]);
    }

    #[test]
    fn it_lasts_at_the_pace_of_the_last_hour() {
        let mut watch = Watch::default();
        assert_eq!(watch.hours(), None);
        beyond(&mut watch, &[(1_000, 0)]);
        assert_eq!(watch.hours(), None, "one look has no pace");
        beyond(&mut watch, &[(900, 100)]);
        assert_eq!(watch.hours(), Some(0.75), "100 in five minutes, 900 left");
        // An hour later nothing goes any more.
        beyond(&mut watch, &[(900, 100); 13]);
        assert_eq!(watch.hours(), None, "never 0 for a balance that is not used");
        beyond(&mut watch, &[(840, 100)]);
        assert_eq!(watch.hours(), Some(14.0), "another system uses the account");
        beyond(&mut watch, &[(-5, 100)]);
        assert_eq!(watch.hours(), Some(0.0));
    }
}
