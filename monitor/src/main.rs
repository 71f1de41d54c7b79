//! `hbmonitor`: arguments in, exit code out.

use hbmonitor::config;

fn main() -> std::process::ExitCode {
    let args = match config::command_line() {
        Ok(args) => args,
        Err(error) => return config::refuse(&error),
    };
    std::process::ExitCode::from(hbmonitor::run(args))
}
