//! `hbsidecar`: arguments in, exit code out.

use clap::Parser;
use hbsidecar::config::{self, Args};

fn main() -> std::process::ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return config::refuse(&error),
    };
    std::process::ExitCode::from(hbsidecar::run(args))
}
