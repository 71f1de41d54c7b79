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

use clap::CommandFactory;
use hbshell::clock;
use hbshell::descriptors;
use hbshell::log_writer::complain;
use hbshell::pages::PagesArgs;
use hbshell::private_dir::PrivateDir;
use heartbeat::verdict::sample::SampleDepth;
use heartbeat::wire::order::POD_RESTART;
use std::os::fd::AsFd;
use std::time::Duration;

use config::{Act, Args, Config, Work, exit};
use hub::{Outcome, supervise};
use output_tee::Outputs;
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
        Some(Act::Install(args)) => return End::Code(commands::install::install(args)),
        Some(Act::Pages(args)) => return End::Code(pages(args)),
        Some(Act::Diagnose(args)) => return End::Code(commands::diagnose::run(args)),
    }
    let config = match Config::try_from(args) {
        Ok(config) => config,
        Err(error) => return fail(&error.into(), exit::USAGE),
    };
    if let Err(error) = descriptors::require(descriptors_needed(&config)) {
        return fail(&error.into(), exit::OWN_FAILURE);
    }
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

/// Beside what is open at the start: a sidecar with a store opens 15 until its agent runs, and needs one to read /proc.
/// Reading the agent's output and a status file takes up to 11 more.
fn descriptors_needed(config: &Config) -> usize {
    if config.reads.is_some() || config.status_file.is_some() {
        28
    } else {
        16
    }
}

/// Processor time of each of so many samples of the tree under `root`, for `benches/look.rs`.
pub fn cost_of_looks(root: u32, depth: SampleDepth, times: usize) -> Vec<Duration> {
    let mut evidence = probe::Sampler::new();
    let mut sample = || evidence.sample(root, &[], depth, clock::now()).cost;
    std::iter::repeat_with(&mut sample).take(times).collect()
}

fn pages(args: &PagesArgs) -> u8 {
    match args.write(&Args::command()) {
        Ok(()) => 0,
        Err(error) => {
            complain("hbsidecar", &error.to_string());
            1
        }
    }
}

fn watch(config: Config, inherited: Inherited) -> anyhow::Result<End> {
    let Work::Transparent(command) = &config.work else {
        let outputs = outputs(&config, inherited);
        return run_hub(config, inherited, None, &mut |_| {}, outputs);
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
                outputs: Vec::new(),
                dies_with_us: false,
            };
            Err(process::child::become_agent(&start).into())
        }
        Side::Watcher(agent, answer) => {
            let mut answer = Some(answer);
            let end = run_hub(
                config,
                inherited,
                Some(agent),
                &mut |environment| {
                    if let Some(answer) = answer.take() {
                        answer.go(environment);
                    }
                },
                None,
            );
            if let Some(answer) = answer {
                answer.refuse();
            }
            end
        }
    }
}

/// Stands between the agent and the outputs that are read. The copier is forked while no thread exists.
fn outputs(config: &Config, inherited: Inherited) -> Option<Outputs> {
    if config.reads.is_none() || !matches!(config.work, Work::Supervise(_)) {
        return None;
    }
    let standard = |fd: i32| {
        let to = match fd {
            2 => std::io::stderr().as_fd().try_clone_to_owned(),
            _ => std::io::stdout().as_fd().try_clone_to_owned(),
        };
        to.map(|to| (fd, to))
    };
    let read = config.read_from.descriptors().iter().copied();
    let read = read.filter(|fd| !inherited.was_closed(*fd)).map(standard);
    let outputs = read.collect::<std::io::Result<Vec<_>>>().and_then(|read| {
        Outputs::open(read, |copier| {
            process::helper::split_off(c"hb-output", copier.descriptors(), || copier.run())
        })
    });
    // The agent runs unread rather than not at all. No log has been started yet.
    outputs.unwrap_or_else(|error| {
        eprintln!("hbsidecar: cannot read the agent's output: {error}");
        None
    })
}

fn run_hub(
    config: Config,
    inherited: Inherited,
    already: Option<process::handle::Process>,
    ready: hub::Ready<'_>,
    outputs: Option<Outputs>,
) -> anyhow::Result<End> {
    let safeguards = hub::safeguards(&config)?; // before any thread exists
    let to = log_destination(&config);
    // Lines of an agent that we start may go to a file at any time.
    let format = if config.log_file.is_none() && config.work.target().is_some() {
        config.log
    } else {
        config.log.plain()
    };
    let writer = log::LogWriter::start(format, to);
    let log = writer.clone();
    let end = run_loop(config, inherited, already, ready, outputs, log, safeguards);
    writer.finish(matches!(end, Ok(End::Code(0))));
    end
}

/// Where log lines go, and whether a file may get them.
fn log_destination(config: &Config) -> log::Destination {
    let directory = PrivateDir::of_user().ok();
    log::Destination {
        file: config.log_file.clone(),
        usual_file: directory
            .map(|(directory, _)| directory.path().join(format!("{}.log", config.id))),
        // The watcher of a transparent agent has left the agent's outputs.
        has_no_stderr: matches!(config.work, Work::Transparent(_)),
        awaits_agent: matches!(config.work, Work::Supervise(_)),
    }
}

fn run_loop(
    config: Config,
    inherited: Inherited,
    already: Option<process::handle::Process>,
    ready: hub::Ready<'_>,
    outputs: Option<Outputs>,
    log: log::LogWriter,
    safeguards: hub::Safeguards,
) -> anyhow::Result<End> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(supervise(
        config, inherited, already, ready, outputs, log, safeguards,
    ));
    // Not dropped: that would wait for a name server that does not answer.
    runtime.shutdown_background();
    let outcome = outcome?;
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
        Outcome::PodRestart => End::Code(POD_RESTART),
    })
}

fn fail(error: &anyhow::Error, code: u8) -> End {
    complain("hbsidecar", &format!("{error:#}"));
    End::Code(code)
}
