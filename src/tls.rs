//! The process-wide choice of a TLS implementation.

/// Installs rustls' ring provider. Call it before any TLS client is built; calling it again, from
/// any thread, does nothing.
pub fn install() {
    // An error only says that there already is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
