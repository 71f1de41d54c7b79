//! `hbsidecar`: arguments in, the agent's end out.

use hbsidecar::End;
use hbsidecar::config;

fn main() -> std::process::ExitCode {
    let end = match config::parse() {
        Ok(args) => hbsidecar::run(args),
        Err(error) => End::Code(config::refuse(&error)),
    };
    std::process::ExitCode::from(end.conclude())
}
