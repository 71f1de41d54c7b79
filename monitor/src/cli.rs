//! The commands that ask a running monitor for something, over its HTTP: those that act here, those that read in `reads`.

mod agents;
mod check;
pub(crate) mod check_config;
pub(crate) mod client;
mod events;
mod incidents;
mod orders;
mod reads;
mod show;
pub(crate) mod terminal;
mod top;
mod waits;

use crate::token::TokenPlace;
use clap::Subcommand;
use client::{Client, ClientError};
use hbshell::command_line::duration;
use hbshell::log_writer::complain;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

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
    /// Print what each process of an agent waits for now; nothing is done to them
    Capture {
        /// The agent
        id: String,
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
    /// Take care of an agent's incident, or of a trouble of hb itself: its page is quiet until it is over
    Ack {
        /// The agent
        #[arg(required_unless_present = "trouble", conflicts_with = "trouble")]
        id: Option<String>,
        /// A trouble of hbmonitor itself, as /v1/status names it: receiver-NAME, configuration, disk
        #[arg(long, value_name = "NAME")]
        trouble: Option<String>,
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

impl Command {
    /// The agent that must be there.
    fn agent(&self) -> Option<&str> {
        match self {
            Self::Restart { id, .. }
            | Self::Recover { id, .. }
            | Self::Capture { id }
            | Self::Stop { id, .. }
            | Self::Forget { id }
            | Self::Ack { id: Some(id), .. } => Some(id),
            Self::Read(_)
            | Self::Ack { id: None, .. }
            | Self::Silence { .. }
            | Self::Pause { .. }
            | Self::Resume => None,
        }
    }
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
    /// What was asked for did not come true.
    #[error("{0}")]
    Failed(String),
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
            | Self::Failed(_) => 1,
        }
    }
}

/// Carries a command out. Returns the exit code of the process.
pub(crate) fn run(command: &Command, target: Target) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(perform(command, target));
            // Not dropped: that would wait for a name server that does not answer.
            runtime.shutdown_background();
            done
        }
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
        Command::Restart { id, yes } => orders::restart(&client, id, *yes).await,
        Command::Recover { id, rung, dry_run } => {
            orders::recover(&client, id, rung.as_deref(), *dry_run).await
        }
        Command::Capture { id } => orders::capture(&client, id).await,
        Command::Stop { id, yes } => orders::stop(&client, id, *yes).await,
        Command::Forget { id } => forget(&client, id).await,
        Command::Ack { id, trouble } => {
            acknowledge(&client, id.as_deref(), trouble.as_deref()).await
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
    match (acted, command.agent()) {
        (Err(CommandError::Client(error)), Some(id)) if error.is_not_found() => {
            let unknown = reads::unknown(&client, id).await?;
            Err(unknown.map_or(error.into(), CommandError::Failed))
        }
        (acted, _) => acted.map(|()| 0),
    }
}

async fn forget(client: &Client, id: &str) -> Result<(), CommandError> {
    let typed = format!("forget {id}");
    client.post(&path(id, "forget"), &wish(), &typed).await?;
    say(&format!(
        "{id} has left the fleet. It is back when it beats again."
    ));
    Ok(())
}

async fn acknowledge(
    client: &Client,
    id: Option<&str>,
    trouble: Option<&str>,
) -> Result<(), CommandError> {
    let (path, typed, what) = match (id, trouble) {
        (Some(id), _) => (path(id, "ack"), format!("ack {id}"), id.to_owned()),
        (None, trouble) => {
            let name = trouble.unwrap_or_default();
            let path = format!("/v1/troubles/{}/ack", escaped(name));
            let typed = format!("ack --trouble {name}");
            (path, typed, format!("hb's own trouble {name}"))
        }
    };
    client.post(&path, &wish(), &typed).await?;
    say(&format!(
        "{what} is acknowledged: quiet until it is over, then reported."
    ));
    Ok(())
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
    // It holds for an agent that is still to come, and for no other of a name that was not meant.
    if let Some(id) = id
        && let Err(error) = client.get(&agent(id), "silence").await
        && error.is_not_found()
        && let Some(why) = reads::unknown(client, id).await?
    {
        complain("hbmonitor", &why);
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
