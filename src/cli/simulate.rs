//! `dispatcher simulate`.
