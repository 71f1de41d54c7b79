//! The commands that ask a running monitor for something, over its HTTP: those that act here, those that read in `reads`.

mod agents;
mod check;
pub(crate) mod check_config;
pub(crate) mod client;
mod events;
mod incidents;
mod reads;
mod show;
mod terminal;
mod top;

use crate::token::TokenPlace;
use clap::Subcommand;
use client::{Client, ClientError};
use hbshell::command_line::duration;
use hbshell::log_writer::complain;
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the monitor is asked what became of an order.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How long an order may take: the agent's grace, a start, a beat.
const DONE_WITHIN: Duration = Duration::from_secs(90);

/// What is asked for.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Read(reads::Read),
    /// Restart an agent, whatever its state is
    Restart {
        /// The agent
        id: String,
        /// Do not ask before an open task is given up
        #[arg(long)]
        yes: bool,
    },
    /// Climb the next rung of an agent's open incident now, whatever gates and budgets say
    Recover {
        /// The agent
        id: String,
        /// This rung: sidecar, docker, pod, kubernetes, systemd, exec, replace; or unblock: the remedy that its verdict names
        #[arg(long)]
        rung: Option<String>,
        /// Only print what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Stop an agent for good
    Stop {
        /// The agent
        id: String,
        /// Do not ask before an open task is given up
        #[arg(long)]
        yes: bool,
    },
    /// Remove an agent that has ended from the fleet
    Forget {
        /// The agent
        id: String,
    },
    /// Take care of an agent's incident: its page is quiet until it is over
    Ack {
        /// The agent
        id: String,
    },
    /// Hold back notifications and automatic actions for an agent, or for a type of agents
    Silence {
        /// The agent
        #[arg(required_unless_present = "agent_type", conflicts_with = "agent_type")]
        id: Option<String>,
        /// All agents of this type
        #[arg(long = "type", value_name = "TYPE")]
        agent_type: Option<String>,
        /// For how long, as in 1h; 0 ends the silence
        #[arg(long = "for", value_name = "TIME")]
        lasts: String,
        /// Why
        #[arg(short, value_name = "WHY", default_value = "")]
        message: String,
    },
    /// Do nothing automatically any more, for the whole fleet
    Pause {
        /// For how long, as in 30m; until `hbmonitor resume` when absent
        #[arg(long = "for", value_name = "TIME", value_parser = duration)]
        lasts: Option<Duration>,
    },
    /// End a pause
    Resume,
}

/// Where the monitor is.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) url: Option<String>,
    pub(crate) token: TokenPlace,
}

/// Why a command did not do what it is for.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Not a terminal, and no confirmation.
    #[error("{0} asks before it gives up the open task {1:?}; add --yes")]
    Unconfirmed(&'static str, String),
    #[error("nothing was done")]
    Declined,
    #[error("{0}")]
    NotYet(String),
}

impl CommandError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Unconfirmed(..) | Self::Client(ClientError::Url(_)) => 2,
            Self::Client(
                ClientError::Unreachable { .. }
                | ClientError::Silent(_)
                | ClientError::Stranger(..)
                | ClientError::Token { .. }
                | ClientError::TokenFile(_)
                | ClientError::Refused(..),
            )
            | Self::Declined
            | Self::NotYet(_) => 1,
        }
    }
}

/// Carries a command out. Returns the exit code of the process.
pub(crate) fn run(command: &Command, target: Target) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(perform(command, target)),
        Err(error) => {
            complain("hbmonitor", &error.to_string());
            return 1;
        }
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            complain("hbmonitor", &error.to_string());
            error.exit_code()
        }
    }
}

async fn perform(command: &Command, target: Target) -> Result<u8, CommandError> {
    let client = Client::new(target.url, target.token)?;
    let acted = match command {
        Command::Read(read) => return Ok(reads::run(read, &client).await?),
        Command::Restart { id, yes } => restart(&client, id, *yes).await,
        Command::Recover { id, rung, dry_run } => {
            recover(&client, id, rung.as_deref(), *dry_run).await
        }
        Command::Stop { id, yes } => stop(&client, id, *yes).await,
        Command::Forget { id } => {
            let typed = format!("forget {id}");
            client.post(&path(id, "forget"), &wish(), &typed).await?;
            say(&format!(
                "{id} has left the fleet. It is back when it beats again."
            ));
            Ok(())
        }
        Command::Ack { id } => {
            client
                .post(&path(id, "ack"), &wish(), &format!("ack {id}"))
                .await?;
            say(&format!(
                "{id} is acknowledged: quiet until it is over, then reported."
            ));
            Ok(())
        }
        Command::Silence {
            id,
            agent_type,
            lasts,
            message,
        } => {
            silence(
                &client,
                id.as_deref(),
                agent_type.as_deref(),
                lasts,
                message,
            )
            .await
        }
        Command::Pause { lasts } => pause(&client, *lasts).await,
        Command::Resume => {
            client.post("/v1/resume", &wish(), "resume").await?;
            say("Recovery goes on for the whole fleet.");
            Ok(())
        }
    };
    acted.map(|()| 0)
}

async fn silence(
    client: &Client,
    id: Option<&str>,
    agent_type: Option<&str>,
    lasts: &str,
    message: &str,
) -> Result<(), CommandError> {
    let mut wish = wish();
    wish["for"] = lasts.into();
    wish["comment"] = message.into();
    let (path, what, undo) = match (id, agent_type) {
        (Some(id), _) => (path(id, "silence"), id.to_owned(), id.to_owned()),
        (None, kind) => {
            let kind = kind.unwrap_or_default();
            wish["matchers"] = json!([{"name": "type", "value": kind}]);
            let what = format!("type {kind}");
            ("/v1/silences".to_owned(), what, format!("--type {kind}"))
        }
    };
    client.post(&path, &wish, "silence").await?;
    match lasts {
        "0" => say(&format!("The silence for {what} is over.")),
        _ => say(&format!(
            "{what} is silenced for {lasts}: no notification, no automatic action. Undo: hbmonitor silence {undo} --for 0"
        )),
    }
    Ok(())
}

async fn pause(client: &Client, lasts: Option<Duration>) -> Result<(), CommandError> {
    let mut wish = wish();
    let mut until = "until you resume it".to_owned();
    if let Some(lasts) = lasts {
        let lasts = humantime::format_duration(lasts).to_string();
        until = format!("for {lasts}");
        wish["for"] = lasts.replace(' ', "").into();
    }
    client.post("/v1/pause", &wish, "pause").await?;
    say(&format!(
        "Recovery is paused for the whole fleet {until}. Detection and pages go on. Undo: hbmonitor resume"
    ));
    Ok(())
}

async fn restart(client: &Client, id: &str, yes: bool) -> Result<(), CommandError> {
    let typed = format!("restart {id}");
    let before = client.get(&agent(id), &typed).await?;
    confirm(&before, id, "Restart it?", "restart", yes)?;
    let begun = client.post(&path(id, "restart"), &wish(), &typed).await?;
    say(&match begun["incident"]["id"].as_str() {
        Some(incident) => format!("begun: a rung of incident {incident}"),
        None => "ordered: its sidecar ends it and starts it again".to_owned(),
    });
    come_back(client, id, &typed, &before).await
}

async fn recover(
    client: &Client,
    id: &str,
    rung: Option<&str>,
    dry_run: bool,
) -> Result<(), CommandError> {
    let typed = format!("recover {id}");
    let before = client.get(&agent(id), &typed).await?;
    let mut wish = wish();
    wish["rung"] = rung.into();
    wish["dryRun"] = dry_run.into();
    let begun = client.post(&path(id, "recover"), &wish, &typed).await?;
    if begun["order"].is_object() {
        say(
            "ordered: its sidecar applies the remedy of its verdict, if there is one; its log and hb:events say what it did",
        );
        return Ok(());
    }
    if !dry_run {
        let incident = begun["incident"]["id"].as_str().unwrap_or_default();
        say(&format!("begun: a rung of incident {incident}"));
        return come_back(client, id, &typed, &before).await;
    }
    for rung in begun["plan"].as_array().into_iter().flatten() {
        let text = |key: &str| rung[key].as_str().unwrap_or_default();
        let (when, name, detail) = (text("when"), text("rung"), text("detail"));
        say(&format!("{when:<6} {name}: {detail}"));
    }
    say("Nothing was done.");
    Ok(())
}

/// Waits for a fresh beat of a new incarnation.
async fn come_back(
    client: &Client,
    id: &str,
    typed: &str,
    before: &Value,
) -> Result<(), CommandError> {
    let started = Instant::now();
    let run = |health: &Value| (health["epoch"].as_u64(), health["restarts"].as_u64());
    let new = |health: &Value| run(health) != run(before) && health["state"] == "healthy";
    let after = until(client, id, typed, new).await?;
    let seconds = started.elapsed().as_secs_f64();
    let pid = after["pid"].as_u64().unwrap_or(0);
    say(&format!(
        "fresh beat: {id} is healthy, pid {pid}, after {seconds:.1} s"
    ));
    Ok(())
}

async fn stop(client: &Client, id: &str, yes: bool) -> Result<(), CommandError> {
    let typed = format!("stop {id}");
    let before = client.get(&agent(id), &typed).await?;
    confirm(&before, id, "Stop it?", "stop", yes)?;
    client.post(&path(id, "stop"), &wish(), &typed).await?;
    say("ordered: its sidecar ends it");
    until(client, id, &typed, |health| health["state"] == "stopped").await?;
    say(&format!("{id} is stopped. It stays so until you start it."));
    Ok(())
}

/// Asks before work that is open is given up.
fn confirm(
    health: &Value,
    id: &str,
    question: &str,
    command: &'static str,
    yes: bool,
) -> Result<(), CommandError> {
    let Some(task) = health["currentTask"].as_str().filter(|_| !yes) else {
        return Ok(());
    };
    if !std::io::stdin().is_terminal() {
        return Err(CommandError::Unconfirmed(command, task.to_owned()));
    }
    let done = health["taskProgress"].as_f64();
    let done = done.map_or_else(String::new, |percent| format!(" ({percent:.0} %)"));
    let mut out = std::io::stdout();
    let _ = write!(out, "{id} has {task:?} open{done}. {question} [y/N] "); // no reader: no answer either
    let _ = out.flush();
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer); // an unreadable answer is no yes
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(CommandError::Declined)
    }
}

/// Waits until the agent is as wanted.
async fn until(
    client: &Client,
    id: &str,
    typed: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value, CommandError> {
    let started = Instant::now();
    loop {
        let health = client.get(&agent(id), typed).await?;
        if wanted(&health) {
            return Ok(health);
        }
        if started.elapsed() >= DONE_WITHIN {
            let state = health["state"].as_str().unwrap_or("unknown");
            let sentence = health["sentence"].as_str().unwrap_or_default();
            let why = format!("{id} is {state} after 90 s: {sentence}");
            return Err(CommandError::NotYet(why));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn agent(id: &str) -> String {
    format!("/health/agents/{}", escaped(id))
}

fn path(id: &str, action: &str) -> String {
    format!("/v1/agents/{}/{action}", escaped(id))
}

/// An id has letters, digits and `._:@-`; anything else would be another path.
fn escaped(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte);
    let bytes = id.bytes().map(|byte| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    });
    bytes.collect()
}

/// The body of every request: who asks.
fn wish() -> Value {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    let user = user.ok().flatten().map_or_else(
        || format!("uid {}", nix::unistd::geteuid()),
        |user| user.name,
    );
    let host = nix::unistd::gethostname().unwrap_or_default();
    json!({"by": format!("{user}@{}", host.to_string_lossy())})
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}"); // no reader: it is done all the same
}
