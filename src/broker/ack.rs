//! Acknowledgements, bundled: one `multiple` ack for a contiguous run, single ones for stragglers'
//! neighbours, so that one slow job does not keep the window shut.

use std::collections::BTreeSet;
use std::time::Duration;

use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::sync::mpsc;

/// Done deliveries that cannot join a run wait this long for the missing ones.
const PATIENCE: Duration = Duration::from_millis(25);

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Ack(u64),
    Nack(u64),
}

/// Which deliveries are done but not yet acknowledged.
#[derive(Debug, Default)]
struct Window {
    /// All tags up to here are acknowledged or given back.
    settled: u64,
    done: BTreeSet<u64>,
}

impl Window {
    fn done(&mut self, tag: u64) {
        self.done.insert(tag);
    }

    /// The end of the run that begins right behind what is settled, if there is one.
    fn run(&mut self) -> Option<u64> {
        let before = self.settled;
        while self.done.first() == Some(&(self.settled + 1)) {
            self.done.pop_first();
            self.settled += 1;
        }
        (self.settled > before).then_some(self.settled)
    }

    /// Those that cannot join a run now. They stay noted, so that a later run passes over them.
    fn stragglers(&self, already: &BTreeSet<u64>) -> Vec<u64> {
        self.done.difference(already).copied().collect()
    }
}

/// Carries out the fates of one channel's deliveries, until the channel closes.
pub(super) async fn settle(channel: Channel, mut fates: mpsc::UnboundedReceiver<Fate>) {
    let mut window = Window::default();
    // Acknowledged one by one, ahead of their run.
    let mut ahead = BTreeSet::new();
    let mut batch = Vec::with_capacity(256);
    loop {
        let waiting = window.done.len() > ahead.len();
        let received = if waiting {
            // `recv_many` loses nothing when it is cancelled.
            tokio::time::timeout(PATIENCE, fates.recv_many(&mut batch, 256)).await.ok()
        } else {
            Some(fates.recv_many(&mut batch, 256).await)
        };
        let sent = match received {
            Some(0) => return,
            Some(_) => take(&channel, &mut window, &mut ahead, &mut batch).await,
            None => acknowledge_singly(&channel, &window, &mut ahead).await,
        };
        if sent.is_err() {
            // The channel is gone, and with it the deliveries: they come again.
            return;
        }
    }
}

async fn take(
    channel: &Channel,
    window: &mut Window,
    ahead: &mut BTreeSet<u64>,
    batch: &mut Vec<Fate>,
) -> Result<(), lapin::Error> {
    for fate in batch.drain(..) {
        match fate {
            Fate::Ack(tag) => window.done(tag),
            Fate::Nack(tag) => {
                channel.basic_nack(tag, BasicNackOptions { requeue: true, multiple: false }).await?;
                window.done(tag);
                ahead.insert(tag);
            }
        }
    }
    let before = window.settled;
    let Some(end) = window.run() else { return Ok(()) };
    // A run of which every tag went ahead singly needs no ack of its own.
    let rest = ahead.split_off(&(end + 1));
    let settled_ahead = std::mem::replace(ahead, rest).len() as u64;
    if settled_ahead == end - before {
        return Ok(());
    }
    channel.basic_ack(end, BasicAckOptions { multiple: true }).await
}

async fn acknowledge_singly(channel: &Channel, window: &Window, ahead: &mut BTreeSet<u64>) -> Result<(), lapin::Error> {
    for tag in window.stragglers(ahead) {
        channel.basic_ack(tag, BasicAckOptions { multiple: false }).await?;
        ahead.insert(tag);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_contiguous() {
        let mut window = Window::default();
        [2, 3, 5].into_iter().for_each(|tag| window.done(tag));
        assert_eq!(window.run(), None);
        assert_eq!(window.stragglers(&BTreeSet::from([3])), [2, 5]);
        window.done(1);
        assert_eq!(window.run(), Some(3));
        window.done(4);
        assert_eq!(window.run(), Some(5));
        assert_eq!(window.run(), None);
        assert!(window.done.is_empty());
    }
}
