//! hbsidecar: starts an agent or attaches to one, samples its process tree, restarts it, sends its heartbeat.
//!
//! `hub` owns the state; the rooms around it never meet. The hub never waits for the store: a beat goes into a slot
//! where the latest one wins.

mod commands;
pub mod config;
mod contract;
mod fixes;
mod hub;
mod log;
mod outbox;
mod output_tee;
mod probe;
mod process;
mod wake;

use hbshell::clock;
use heartbeat::verdict::sample::SampleDepth;
use std::time::Duration;

use config::{Act, Args, Config, Work, exit};
use hub::{Outcome, supervise};
use process::inherited::Inherited;
use process::transparent::Side;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Code(u8),
    /// As the agent did: by this signal.
    Signal(u8),
}

impl End {
    /// Dies by the agent's signal, or returns the exit code.
    pub fn conclude(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => {
                process::inherited::die_by(i32::from(signal));
                exit::SIGNAL_BASE.saturating_add(signal)
            }
        }
    }
}

/// Runs the sidecar to the end of its agent.
pub fn run(args: Args) -> End {
    match &args.act {
        None => {}
        Some(Act::Notify(args)) => return End::Code(commands::notify::notify(args)),
        Some(Act::Healthcheck(args)) => return End::Code(commands::notify::healthcheck(args)),
        Some(Act::Hooks(args)) => return End::Code(commands::hooks::hooks(args)),
        Some(Act::Diagnose(args)) => return End::Code(commands::diagnose::run(args)),
    }
    let config = match Config::try_from(args) {
        Ok(config) => config,
        Err(error) => return fail(&error.into(), exit::USAGE),
    };
    let inherited = Inherited::take();
    match watch(config, inherited) {
        Ok(end) => end,
        Err(error) => {
            let code = error
                .downcast_ref::<process::child::StartError>()
                .map_or(exit::OWN_FAILURE, process::child::StartError::exit_code);
            fail(&error, code)
        }
    }
}

/// Processor time of each of so many samples of the tree under `root`, for `benches/look.rs`.
pub fn cost_of_looks(root: u32, depth: SampleDepth, times: usize) -> Vec<Duration> {
    let mut evidence = probe::Sampler::new();
    let mut sample = || evidence.sample(root, &[], depth, clock::now()).cost;
    std::iter::repeat_with(&mut sample).take(times).collect()
}

fn watch(config: Config, inherited: Inherited) -> anyhow::Result<End> {
    let Work::Transparent(command) = &config.work else {
        return run_hub(config, inherited, None, &mut |_| {});
    };
    match process::transparent::split(&hub::VARIABLES)? {
        Side::Refused => Ok(End::Code(exit::TAKEN)),
        Side::Agent(environment) => {
            let start = process::child::Start {
                program: &command.program,
                arguments: &command.arguments,
                environment: &environment,
                inherited,
                terminal: None,
                output: None,
                dies_with_us: false,
            };
            Err(process::child::become_agent(&start).into())
        }
        Side::Watcher(agent, answer) => {
            let mut answer = Some(answer);
            let end = run_hub(config, inherited, Some(agent), &mut |environment| {
                if let Some(answer) = answer.take() {
                    answer.go(environment);
                }
            });
            if let Some(answer) = answer {
                answer.refuse();
            }
            end
        }
    }
}

fn run_hub(
    config: Config,
    inherited: Inherited,
    already: Option<process::handle::Process>,
    ready: hub::Ready<'_>,
) -> anyhow::Result<End> {
    let safeguards = hub::safeguards(&config)?; // before any thread exists
    let writer = log::LogWriter::start(config.log);
    let end = run_loop(config, inherited, already, ready, safeguards);
    writer.finish();
    end
}

fn run_loop(
    config: Config,
    inherited: Inherited,
    already: Option<process::handle::Process>,
    ready: hub::Ready<'_>,
    safeguards: hub::Safeguards,
) -> anyhow::Result<End> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(supervise(config, inherited, already, ready, safeguards))?;
    Ok(match outcome {
        Outcome::Ended(ended) => match (ended.code, ended.signal) {
            (Some(code), _) => End::Code(code),
            (None, Some(signal)) => End::Signal(signal),
            (None, None) => End::Code(exit::OWN_FAILURE),
        },
        Outcome::NotStarted(code) => End::Code(code),
        Outcome::Taken => End::Code(exit::TAKEN),
        Outcome::Detached => End::Code(0),
        Outcome::Interrupted(signal) => End::Signal(signal),
    })
}

fn fail(error: &anyhow::Error, code: u8) -> End {
    eprintln!("hbsidecar: {error:#}");
    End::Code(code)
}
