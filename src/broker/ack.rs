//! Acknowledgements, bundled: one `multiple` ack for a contiguous run, single ones for stragglers'
//! neighbours, so that one slow job does not keep the window shut.

use std::collections::BTreeMap;
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

/// Which deliveries are done, and which of them the broker knows of. Tags begin at 1 and have no
/// gaps.
#[derive(Debug, Default)]
struct Window {
    /// All tags up to here are done and told.
    settled: u64,
    /// Done beyond that; true once the broker was told singly.
    done: BTreeMap<u64, bool>,
    untold: usize,
}

impl Window {
    /// A delivery is done and can be acknowledged.
    fn done(&mut self, tag: u64) {
        self.done.insert(tag, false);
        self.untold += 1;
    }

    /// A delivery was given back.
    fn given_back(&mut self, tag: u64) {
        self.done.insert(tag, true);
    }

    /// The tag to acknowledge `multiple`, if what is done has closed up with what is settled. It is
    /// one that the broker still waits for: it closes the channel on a tag that it does not know.
    fn run(&mut self) -> Option<u64> {
        let mut last = None;
        while let Some(entry) = self.done.first_entry().filter(|entry| *entry.key() == self.settled + 1) {
            self.settled = *entry.key();
            if !entry.remove() {
                last = Some(self.settled);
                self.untold -= 1;
            }
        }
        last
    }

    /// Some are done that no run will reach soon.
    fn has_stragglers(&self) -> bool {
        self.untold > 0
    }

    /// Those, to be acknowledged one by one; they count as told from now on.
    fn stragglers(&mut self) -> Vec<u64> {
        self.untold = 0;
        let untold = self.done.iter_mut().filter(|(_, told)| !**told);
        untold.map(|(tag, told)| (*tag, *told = true).0).collect()
    }
}

/// Carries out the fates of one channel's deliveries, until the channel closes.
pub(super) async fn settle(channel: Channel, mut fates: mpsc::UnboundedReceiver<Fate>) {
    let mut window = Window::default();
    let mut batch = Vec::with_capacity(256);
    loop {
        let received = if window.has_stragglers() {
            // `recv_many` loses nothing when it is cancelled.
            tokio::time::timeout(PATIENCE, fates.recv_many(&mut batch, 256)).await.ok()
        } else {
            Some(fates.recv_many(&mut batch, 256).await)
        };
        let sent = match received {
            Some(0) => {
                // Nobody holds a delivery any more. An error only says that the channel is gone.
                let _ = tell_singly(&channel, &mut window).await;
                return;
            }
            Some(_) => tell(&channel, &mut window, &mut batch).await,
            None => tell_singly(&channel, &mut window).await,
        };
        if sent.is_err() {
            // The channel is gone, and with it the deliveries: they come again.
            return;
        }
    }
}

async fn tell(channel: &Channel, window: &mut Window, batch: &mut Vec<Fate>) -> Result<(), lapin::Error> {
    for fate in batch.drain(..) {
        match fate {
            Fate::Ack(tag) => window.done(tag),
            Fate::Nack(tag) => {
                channel.basic_nack(tag, BasicNackOptions { requeue: true, multiple: false }).await?;
                window.given_back(tag);
            }
        }
    }
    match window.run() {
        Some(end) => channel.basic_ack(end, BasicAckOptions { multiple: true }).await,
        None => Ok(()),
    }
}

async fn tell_singly(channel: &Channel, window: &mut Window) -> Result<(), lapin::Error> {
    for tag in window.stragglers() {
        channel.basic_ack(tag, BasicAckOptions { multiple: false }).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// RabbitMQ's side: what it waits for.
    struct Broker(BTreeSet<u64>);

    impl Broker {
        fn ack(&mut self, tag: u64, multiple: bool) {
            assert!(self.0.contains(&tag), "unknown delivery tag {tag}");
            self.0.retain(|other| *other != tag && !(multiple && *other < tag));
        }
    }

    proptest! {
        #[test]
        fn every_delivery_is_told_once_and_none_too_early(
            order in Just((1..=60_u64).collect::<Vec<_>>()).prop_shuffle(),
            pauses in prop::collection::vec(0..4_u8, 60),
        ) {
            let mut broker = Broker((1..=60).collect());
            let (mut window, mut done) = (Window::default(), BTreeSet::new());
            for (tag, pause) in order.into_iter().zip(pauses) {
                done.insert(tag);
                if pause == 1 {
                    broker.ack(tag, false);
                    window.given_back(tag);
                } else {
                    window.done(tag);
                }
                if let Some(end) = window.run() {
                    broker.ack(end, true);
                }
                if pause == 2 {
                    window.stragglers().into_iter().for_each(|tag| broker.ack(tag, false));
                }
                prop_assert!(broker.0.is_disjoint(&done) || window.has_stragglers());
                prop_assert!((1..=60).all(|tag| broker.0.contains(&tag) || done.contains(&tag)));
            }
            prop_assert!(broker.0.is_empty() && window.done.is_empty());
        }
    }
}
