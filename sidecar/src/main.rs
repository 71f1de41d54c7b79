//! `hbsidecar`: arguments in, the agent's end out.

use clap::Parser;
use hbsidecar::End;
use hbsidecar::config::{self, Args};

fn main() -> std::process::ExitCode {
    let end = match Args::try_parse() {
        Ok(args) => hbsidecar::run(args),
        Err(error) => End::Code(config::refuse(&error)),
    };
    std::process::ExitCode::from(end.conclude())
}
