//! A job's turn: until when it waits in memory, and what the pacer is told of what came of it.

use super::admit::Asked;
use super::deliver::{Parcel, Start};
use super::desk::Desk;
use super::ports::Entry;
use crate::domain::job::{Timestamp, WaitReason};
use crate::domain::pace::{Park, Ticket, Turn};

impl Desk {
    /// Waits for the job's turn. `None`: the session has ended.
    pub(super) async fn turn(&self, parcel: &Parcel, start: Start) -> Option<(Entry, Option<Ticket>)> {
        let (ticket, turn) = match start {
            Start::Known(entry) => return Some((entry, None)),
            Start::Turn(ticket, turn) => (ticket, turn.await.ok()?),
        };
        match turn {
            Turn::Go(_) if self.is_draining() => {
                parcel.pace.act(|pacer, now| pacer.abandoned(ticket, now));
                None
            }
            Turn::Go(waited) => {
                let seconds = &self.metrics.limiter_wait;
                seconds.with_label_values(&["mobile"]).observe(waited.mobile.as_secs_f64());
                seconds.with_label_values(&["account"]).observe(waited.account.as_secs_f64());
                let Some(until) = self.quiet_until(parcel) else { return Some((Entry::Claim, Some(ticket))) };
                // It waited in memory into the quiet hours.
                self.hold(parcel, ticket, WaitReason::QuietHours, until);
                Some((Entry::Wait { reason: WaitReason::QuietHours, due_at: Some(until), on_room: false }, None))
            }
            Turn::Park(park) => {
                let now = self.now();
                let due_at = match park.reason {
                    // To the second, which a way over the monotonic clock is not.
                    WaitReason::QuietHours => self.quiet_until(parcel).or(Some(now)),
                    _ => park.due.map(|due| parcel.pace.wall(due, now)),
                };
                Some((Entry::Wait { reason: park.reason, due_at, on_room: park.on_room }, None))
            }
            Turn::Expired => Some((Entry::Expired, None)),
        }
    }

    /// A granted job is claimed, or gives its place back.
    pub(super) fn tell_pacer(&self, parcel: &Parcel, ticket: Ticket, asked: &Asked) {
        match asked {
            Asked::Claimed(_) => parcel.pace.act(|pacer, now| pacer.claimed(ticket, now)),
            Asked::Held(until) => {
                self.hold(parcel, ticket, WaitReason::NumberLimit, *until);
                let (mobile, priority) = (parcel.job.mobile, parcel.job.priority);
                parcel.pace.act(|pacer, _| pacer.parked_for_good(mobile, priority, parcel.seq));
            }
            Asked::Paused => {
                let park = Park { reason: WaitReason::AccountPaused, due: None, on_room: true };
                parcel.pace.act(|pacer, now| pacer.held(ticket, park, now));
                let (mobile, priority) = (parcel.job.mobile, parcel.job.priority);
                parcel.pace.act(|pacer, _| pacer.parked_for_good(mobile, priority, parcel.seq));
                self.note_parked(parcel);
            }
            Asked::Done | Asked::NotStored { .. } => parcel.pace.act(|pacer, now| pacer.abandoned(ticket, now)),
        }
    }

    /// The pacer keeps a place for what it parked. Where Postgres has not parked it, others would wait for
    /// that place in vain, released and parked again and again. A second copy of a released job that waits
    /// again stands for its first.
    pub(super) fn settle_park(&self, parcel: &Parcel, entry: Entry, asked: Option<&Asked>) {
        let Entry::Wait { reason, .. } = entry else { return };
        let has_place = reason != WaitReason::Scheduled;
        let stands = match asked {
            Some(Asked::Done) => true,
            Some(Asked::NotStored { first_waits }) => *first_waits,
            Some(Asked::Claimed(_) | Asked::Held(_) | Asked::Paused) | None => false,
        };
        if has_place {
            let (mobile, priority, seq) = (parcel.job.mobile, parcel.job.priority, parcel.seq);
            parcel.pace.act(|pacer, _| match stands {
                true => pacer.parked_for_good(mobile, priority, seq),
                false => pacer.not_parked(mobile, priority, seq),
            });
        }
    }

    /// A granted job gives its place back, and stands before the next of its number when it is due.
    fn hold(&self, parcel: &Parcel, ticket: Ticket, reason: WaitReason, until: Timestamp) {
        let due = parcel.pace.tick_of(until, self.now());
        parcel.pace.act(|pacer, now| pacer.held(ticket, Park { reason, due: Some(due), on_room: false }, now));
    }

    /// The end of the quiet hours that it is now, if it is.
    pub(super) fn quiet_until(&self, parcel: &Parcel) -> Option<Timestamp> {
        self.settings.quiet.ends(parcel.job.priority, self.now())
    }
}
