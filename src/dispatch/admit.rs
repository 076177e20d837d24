//! What Postgres makes of a job before it goes: its claim, its parking, or a refusal.

use tokio::time::Instant;
use tracing::debug;

use super::batch::Refused;
use super::deliver::{Delivered, Parcel};
use super::desk::Desk;
use super::ports::*;
use crate::domain::job::{State, Timestamp, WaitReason};
use crate::domain::message::{RejectReason, Rejection};

/// What came of asking for a job's claim.
pub(super) enum Asked {
    /// It may go.
    Claimed(Claim),
    /// It waits until then: its number has had all that it may get.
    Held(Timestamp),
    /// It waits for its account, which an operator has paused.
    Paused,
    /// It waits, or has come to its end; nothing more is to be done for it here.
    Done,
    /// Nothing was stored: its message was a copy, or its id is another job's. `first_waits`: a copy of
    /// the same release was first, and waits again.
    NotStored { first_waits: bool },
}

/// A job that cannot be read is looked at again after this long: somebody may have mended it.
const UNREADABLE: chrono::Duration = chrono::Duration::minutes(10);

impl Desk {
    /// Commits the claim, or what else is to become of the job.
    pub(super) async fn admit(&self, parcel: &Parcel, entry: Entry) -> Result<Asked, Refused> {
        if parcel.released {
            match self.readmit(parcel, From::Queued, entry).await? {
                Readmitted::Claimed(claim) => return Ok(Asked::Claimed(claim)),
                Readmitted::Held(until) => return Ok(Asked::Held(until)),
                Readmitted::Paused => return Ok(Asked::Paused),
                Readmitted::Suppressed => self.note_suppressed(parcel),
                Readmitted::Stored => self.note_entry(parcel, entry),
                Readmitted::Elsewhere(state) => {
                    debug!(job = parcel.job.id, %state, "a second copy of a released job");
                    return Ok(Asked::NotStored { first_waits: state == State::Waiting });
                }
                // Postgres has lost the row, the broker not the message: it is a job all the same.
                Readmitted::Missing => return self.admit_fresh(parcel, entry).await,
            }
            return Ok(Asked::Done);
        }
        self.admit_fresh(parcel, entry).await
    }

    async fn admit_fresh(&self, parcel: &Parcel, entry: Entry) -> Result<Asked, Refused> {
        let row = Admission {
            job: parcel.job.clone(),
            account: self.account_name(parcel.account).to_owned(),
            seq: parcel.seq,
            claim_id: self.next_claim(),
            entry,
        };
        let admitted = self.admissions.commit(row).await?;
        if admitted != Admitted::Conflict {
            self.recent.insert(parcel.key, Instant::now());
        }
        match admitted {
            Admitted::Claimed(claim) => return Ok(Asked::Claimed(claim)),
            Admitted::Held(until) => return Ok(Asked::Held(until)),
            Admitted::Paused => return Ok(Asked::Paused),
            Admitted::Suppressed => self.note_suppressed(parcel),
            Admitted::Stored => self.note_entry(parcel, entry),
            // Of a session that has ended, the copy may have been quicker.
            Admitted::Repeat(_) => {
                self.note_repeat(parcel.redelivered || parcel.pace.has_ended());
                return Ok(Asked::NotStored { first_waits: false });
            }
            Admitted::Conflict => {
                self.refuse_conflict(parcel).await?;
                return Ok(Asked::NotStored { first_waits: false });
            }
        }
        Ok(Asked::Done)
    }

    pub(super) async fn readmit(&self, parcel: &Parcel, from: From, entry: Entry) -> Result<Readmitted, Refused> {
        let account = Some(self.account_name(parcel.account).to_owned());
        // A second signature goes in the place of the first.
        let to = (from == From::Queued).then_some((parcel.job.mobile, parcel.job.priority));
        let row = Readmission { id: parcel.job.id.clone(), account, to, claim_id: self.next_claim(), from, entry };
        self.readmissions.commit(row).await
    }

    async fn refuse_conflict(&self, parcel: &Parcel) -> Result<(), Refused> {
        let detail = "`id` is known with another mobile, content, template, variables or account: \
                      use a new id for a new job";
        let refusal = Refusal {
            rejection: Rejection::new(RejectReason::IdConflict, detail),
            body: bytes::Bytes::copy_from_slice(&parcel.body),
            properties: parcel.delivery.describe(),
        };
        self.refuse_row(refusal).await
    }

    /// Keeps a message that is no job.
    pub(super) async fn refuse(&self, refusal: Refusal) -> Delivered {
        match self.refuse_row(refusal).await {
            Ok(()) => Delivered::Settled,
            Err(_) => Delivered::Unsettled,
        }
    }

    async fn refuse_row(&self, refusal: Refusal) -> Result<(), Refused> {
        let reason = refusal.rejection.reason;
        self.refusals.commit(refusal).await?;
        self.metrics.rejected.with_label_values(&[reason.as_str()]).inc();
        Ok(())
    }

    /// A released job that is none any more waits again. Where its account is not configured nothing makes room for it
    /// until it is; with an account that is, it would come out at once, before all others, over and over.
    /// Where Postgres does not know the job, the message is all that is left of it: it is kept.
    pub(super) async fn put_back(&self, id: String, refusal: Refusal) -> Delivered {
        let entry = match refusal.rejection.reason {
            RejectReason::UnknownAccount => {
                Entry::Wait { reason: WaitReason::AccountPaused, due_at: None, on_room: true }
            }
            _ => Entry::Wait { reason: WaitReason::Retry, due_at: Some(self.now() + UNREADABLE), on_room: false },
        };
        let row = Readmission { id, account: None, to: None, claim_id: self.next_claim(), from: From::Queued, entry };
        match self.readmissions.commit(row).await {
            Ok(Readmitted::Missing) => self.refuse(refusal).await,
            Ok(_) => Delivered::Settled,
            Err(_) => Delivered::Unsettled,
        }
    }

    fn note_entry(&self, parcel: &Parcel, entry: Entry) {
        match entry {
            Entry::Expired => {
                self.metrics.finished(self.account_name(parcel.account), State::Expired, None, 1);
                self.announced.notify_one();
            }
            Entry::Wait { on_room: true, .. } => self.note_parked(parcel),
            Entry::Wait { .. } | Entry::Claim => {}
        }
    }

    fn note_suppressed(&self, parcel: &Parcel) {
        self.metrics.finished(self.account_name(parcel.account), State::Failed, None, 1);
    }

    /// Postgres has a job that waits for its account.
    pub(super) fn note_parked(&self, parcel: &Parcel) {
        parcel.pace.act(|pacer, _| pacer.stored(parcel.account, parcel.job.priority));
    }

    /// A message that was given out before is no repeat of its publisher's.
    pub(super) fn note_repeat(&self, redelivered: bool) {
        if !redelivered {
            self.metrics.duplicates.inc();
        }
    }
}
