//! `hbmonitor`: arguments in, exit code out.

use clap::Parser;
use hbmonitor::config::{self, Args};

fn main() -> std::process::ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return config::refuse(&error),
    };
    std::process::ExitCode::from(hbmonitor::run(args))
}
