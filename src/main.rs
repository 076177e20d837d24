//! Parses the command line, runs the command, and says how it went: 0 done, 1 failed, 2 wrong usage
//! or configuration.

use std::process::ExitCode;

use clap::Parser;
use dispatcher::cli::{self, Cli};

fn main() -> ExitCode {
    dispatcher::memory::give_back();
    dispatcher::tls::install();
    match cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::exit::report(&error),
    }
}
