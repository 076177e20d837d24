//! What the listener asks of the daemon.

/// The daemon's state, as health endpoints and metrics show it.
pub trait Status: Send + Sync {
    /// Ready to take jobs, or every reason why not, a line each. A standby is ready.
    ///
    /// # Errors
    /// The reasons; at least one.
    fn ready(&self) -> Result<(), Vec<String>>;

    /// All metrics, in Prometheus' text format.
    fn metrics(&self) -> String;
}
