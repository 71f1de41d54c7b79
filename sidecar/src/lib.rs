//! hbsidecar: starts an agent, samples its process tree, sends its heartbeat.
//!
//! `supervise` is the hub and owns the state; `child`, `vitals`, `outbox`, `signals` and `runtime` are rooms around it
//! that never meet. The hub never waits for the store: what is to be sent goes into a slot where the latest beat wins.

mod child;
mod clock;
pub mod config;
mod outbox;
mod runtime;
mod signals;
mod supervise;
mod vitals;

use config::{Args, Config, exit};

/// Runs the sidecar to the end of its agent. Returns the exit code of the process.
pub fn run(args: Args) -> u8 {
    let config = match Config::try_from(args) {
        Ok(config) => config,
        Err(error) => return say(&error.into(), exit::USAGE),
    };
    config.log.start();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return say(&error.into(), exit::OWN_FAILURE),
    };
    match runtime.block_on(supervise::supervise(config)) {
        Ok(code) => code,
        Err(error) => {
            let code = error
                .downcast_ref::<child::StartError>()
                .map_or(exit::OWN_FAILURE, child::StartError::exit_code);
            say(&error, code)
        }
    }
}

fn say(error: &anyhow::Error, code: u8) -> u8 {
    eprintln!("hbsidecar: {error:#}");
    code
}
