//! `hbmonitor`: arguments in, exit code out.

use hbmonitor::config::{self, Args};
use hbshell::command_line::parse;

fn main() -> std::process::ExitCode {
    let args = match parse::<Args>(|_| true) {
        Ok(args) => args,
        Err(error) => return config::refuse(&error),
    };
    std::process::ExitCode::from(hbmonitor::run(args))
}
