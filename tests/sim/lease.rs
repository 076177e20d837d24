//! The lease of the shard.

use std::time::Duration;

use dispatcher::dispatch::ports::*;

use crate::process::Link;

/// The holder notices a broken connection within this time (`LOOK` and `LIMIT` of the real one).
const NOTICED: Duration = Duration::from_secs(7);

/// Who has the lease.
#[derive(Default)]
pub struct Shelf {
    holder: Option<(u32, u64)>,
    grants: u64,
}

impl Shelf {
    fn take(&mut self, process: u32) -> Option<u64> {
        if self.holder.is_some() {
            return None;
        }
        self.grants += 1;
        self.holder = Some((process, self.grants));
        Some(self.grants)
    }

    fn is_held(&self, grant: u64) -> bool {
        self.holder.is_some_and(|(_, held)| held == grant)
    }

    fn give_back(&mut self, grant: u64) {
        self.holder = self.holder.filter(|(_, held)| *held != grant);
    }

    /// Postgres sees that a process has ended.
    pub fn give_back_all(&mut self, process: u32) {
        self.holder = self.holder.filter(|(holder, _)| *holder != process);
    }

    /// The connection of whoever holds it breaks.
    pub fn break_off(&mut self) {
        self.holder = None;
    }
}

/// The lease, for one process.
pub struct ShardLease(pub Link);

impl Lease for ShardLease {
    fn acquire(&self) -> Boxed<'_, Result<Option<Box<dyn Held>>, LedgerError>> {
        Box::pin(async move {
            self.0.step().await;
            self.0.travel(self.0.world.delay(Duration::from_millis(20))).await;
            if self.0.world.postgres_is_down() {
                return Err(LedgerError::Unavailable("refused".into()));
            }
            self.0.alive().await;
            let grant = self.0.world.shelf().take(self.0.process.index());
            self.0.step().await;
            let Some(grant) = grant else { return Ok(None) };
            self.0.world.note(|| format!("process {} has the lease", self.0.process.index()));
            let notice = self.0.world.delay(NOTICED);
            Ok(Some(Box::new(HeldLease { link: self.0.clone(), grant, notice }) as Box<dyn Held>))
        })
    }
}

struct HeldLease {
    link: Link,
    grant: u64,
    notice: Duration,
}

impl Held for HeldLease {
    fn lost(&mut self) -> Boxed<'_, String> {
        Box::pin(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if !self.link.world.shelf().is_held(self.grant) {
                    self.link.travel(self.notice).await;
                    self.link.step().await;
                    return "Postgres: the connection is gone".into();
                }
            }
        })
    }

    fn release(self: Box<Self>) -> Boxed<'static, ()> {
        Box::pin(async move { self.link.step().await })
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        // Of a dead process, Postgres finds out by itself.
        if !self.link.process.is_dead() {
            self.link.world.shelf().give_back(self.grant);
        }
    }
}
