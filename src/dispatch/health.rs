//! Why the daemon is not ready, if it is not.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// A part of the outside that the daemon needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The broker.
    RabbitMq,
    /// The broker, for what is published: it may block that alone.
    Publishing,
    /// The database.
    Postgres,
    /// One kind of statement: Postgres may answer and refuse to write.
    Statement(&'static str),
    /// The consumers on the job queues.
    Consumer,
    /// The process itself.
    Process,
}

impl Part {
    /// Its name in a reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::RabbitMq | Part::Publishing => "rabbitmq",
            Part::Postgres | Part::Statement(_) => "postgres",
            Part::Consumer => "consumer",
            Part::Process => "dispatcher",
        }
    }
}

/// The parts that are down, each with its reason.
#[derive(Debug, Default)]
pub struct Health(Mutex<BTreeMap<Part, String>>);

impl Health {
    /// Nothing stands yet.
    pub fn starting() -> Self {
        let health = Health::default();
        for part in [Part::RabbitMq, Part::Postgres, Part::Consumer] {
            health.down(part, "not connected yet");
        }
        health
    }

    /// `part` is down. True if it was up.
    pub fn down(&self, part: Part, reason: impl Into<String>) -> bool {
        self.parts().insert(part, reason.into()).is_none()
    }

    /// `part` is up. True if it was down.
    pub fn up(&self, part: Part) -> bool {
        self.parts().remove(&part).is_some()
    }

    /// Whether `part` is down.
    pub fn is_down(&self, part: Part) -> bool {
        self.parts().contains_key(&part)
    }

    /// All reasons, `part: reason`; none when ready.
    pub fn reasons(&self) -> Vec<String> {
        self.parts().iter().map(|(part, reason)| format!("{}: {reason}", part.as_str())).collect()
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, BTreeMap<Part, String>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
