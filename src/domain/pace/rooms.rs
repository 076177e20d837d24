//! Rooms: how many of the jobs that are parked for an account may come back now.

use super::account::Account;
use super::bucket::Tick;
use super::{Mode, Pacer, Room};
use crate::domain::job::Priority;

impl Pacer {
    /// So many more jobs are parked for an account.
    pub fn add_backlog(&mut self, account: usize, priority: Priority, jobs: u64) {
        self.accounts[account].parked[priority.index()].count += jobs;
        self.tails.backlogs.account_is_waited_for(account);
    }

    /// A job that waits for room is committed. The count was raised when it was told to park; a look
    /// in between has not found it, and has set the count to nothing.
    pub fn stored(&mut self, account: usize, priority: Priority) {
        self.accounts[account].suspect(priority);
    }

    /// Parked jobs that nobody counted are looked for: those of a session before, committed after this
    /// one began.
    pub fn look_for_parked(&mut self) {
        for account in &mut self.accounts {
            Priority::ALL.iter().for_each(|priority| account.suspect(*priority));
        }
    }

    /// A room was not used after all, and may not even have been looked at: it is offered again.
    pub fn left_over(&mut self, room: Room) {
        self.accounts[room.account].suspect(room.priority);
    }

    /// Where parked jobs could be released to, now. While the circuit is open there is room for one job, of whichever
    /// backlog has one that may go ([`Pacer::left_over`] with the rest), and only where nobody is in memory who could
    /// probe: else a backlog would wait for a newcomer.
    pub fn rooms(&mut self, now: Tick) -> Vec<Room> {
        let mut rooms = Vec::new();
        let is_open = self.circuit.is_open();
        if is_open && !(self.entries.is_empty() && self.circuit.admits(now)) {
            return rooms;
        }
        let shares: [usize; 3] = std::array::from_fn(|priority| self.share_of_memory(priority));
        for (index, account) in self.accounts.iter_mut().enumerate() {
            for priority in Priority::ALL.iter().copied() {
                let jobs = account.room(priority, shares[priority.index()], now);
                if jobs > 0 && account.take_suspicion(priority) {
                    let jobs = if is_open { 1 } else { jobs };
                    rooms.push(Room { account: index, priority, jobs });
                }
            }
        }
        rooms
    }

    /// Released jobs of a priority that each account with a backlog may have in memory.
    fn share_of_memory(&self, priority: usize) -> usize {
        let backlogs = self.accounts.iter().filter(|account| account.parked[priority].count > 0).count();
        self.crowd / backlogs.max(1)
    }

    /// `released` jobs were found for a room.
    pub fn released(&mut self, room: Room, released: usize, now: Tick) {
        self.accounts[room.account].released(room.priority, room.jobs, released, now);
        self.note_what_is_waited_for(room.account, now);
    }

    /// As long as an account is paused or has a backlog, those who are parked for it will come back.
    pub(super) fn note_what_is_waited_for(&mut self, account: usize, now: Tick) {
        let Account { mode, parked, .. } = &self.accounts[account];
        if *mode != Mode::Active {
            self.tails.backlogs.account_was_paused(account);
        } else if parked.iter().any(|parked| parked.count > 0) {
            self.tails.backlogs.account_is_waited_for(account);
        } else {
            self.tails.backlogs.account_is_through(account, now);
        }
    }
}
