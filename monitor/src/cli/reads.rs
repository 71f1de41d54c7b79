//! The commands that only read: `ls show events incidents check healthcheck`, and `top`.

use super::agents::{self, Shown};
use super::check::{self, Finding};
use super::client::{Client, ClientError};
use super::events::{self, Wanted};
use super::show::{self, Beside};
use super::terminal::{Terminal, hint, plain, print};
use super::{incidents, top, waits};
use axum::http::StatusCode;
use clap::{Args, Subcommand};
use form_urlencoded::Serializer;
use hbshell::log_writer::complain;
use heartbeat::fleet::asked::{NoSuchWord, StateWords, verdicts};
use heartbeat::fleet::word::also_on;
use heartbeat::wire::beat::Verdict;
use heartbeat::wire::word;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

/// Between two pictures of `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// Entries of a timeline below an agent.
const TIMELINE: usize = 10;
/// Letters that a suggestion may differ in.
const NEAR: usize = 3;

/// What is read.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Read {
    /// List the agents: those that need a person first
    Ls(Ls),
    /// Show one agent; exit code 0, 3 when it needs attention, 4 when there is no such agent
    Show {
        /// The agent
        id: String,
        /// The API's JSON
        #[arg(long)]
        json: bool,
    },
    /// List what changed
    Events {
        /// Go on with what changes
        #[arg(short, long)]
        follow: bool,
        /// Of this agent only
        #[arg(long, value_name = "ID")]
        agent: Option<String>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// List the open incidents
    Incidents {
        /// Also those that were closed in the last 7 days
        #[arg(long)]
        all: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Check the fleet for Nagios and its kin: exit code 0 all well, 1 notices, 2 incidents, 3 cannot tell
    Check {
        /// Agents in this state only; several with commas
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
    },
    /// Show the fleet on the whole screen, with keys to sort, filter and act
    Top,
    /// Exit with 0 when the monitor answers and is connected to its store
    Healthcheck,
}

/// Which agents are listed, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct Ls {
    /// Agents in this state: healthy, missing, failed, stopped, or a shown word; several with commas
    #[arg(long, value_name = "STATE", value_parser = StateWords::parse)]
    state: Option<StateWords>,
    /// Agents of this type; several with commas
    #[arg(long = "type", value_name = "TYPE")]
    agent_type: Option<String>,
    /// Agents with this verdict, as in stalled or waiting-for-you; several with commas
    #[arg(long, value_name = "VERDICT", value_parser = verdict_words)]
    activity: Option<StateWords>,
    /// Agents with this text in id, type, host or task
    #[arg(short = 'q', value_name = "TEXT")]
    text: Option<String>,
    /// Every column, whatever the width
    #[arg(long)]
    wide: bool,
    /// One JSON object a line, as the API has it
    #[arg(long)]
    json: bool,
    /// Again every two seconds
    #[arg(long)]
    watch: bool,
}

/// Carries a command out. Returns the exit code of the process.
pub(super) async fn run(read: &Read, client: &Client) -> Result<u8, ClientError> {
    match read {
        Read::Ls(ls) => list(client, ls).await,
        Read::Show { id, json } => one(client, id, *json).await,
        Read::Events {
            follow,
            agent,
            json,
        } => {
            let wanted = Wanted {
                follows: *follow,
                agent: agent.clone(),
                as_json: *json,
            };
            events::run(client, &wanted).await.map(|()| 0)
        }
        Read::Incidents { all, json } => incident_list(client, *all, *json).await,
        Read::Check { state } => {
            // A word that is none must not look like the exit code of an incident.
            let found = match state.as_deref().map(StateWords::parse).transpose() {
                Ok(state) => finding(client, state).await.map_err(|why| why.to_string()),
                Err(why) => Err(why.to_string()),
            };
            let Finding { code, line } = found.unwrap_or_else(|why| check::unknown(&why));
            print(&line);
            Ok(code)
        }
        Read::Top => top::run(client).await,
        Read::Healthcheck => {
            let ready = client.get_with("status", "/-/ready", "healthcheck");
            ready.await.map(|_| 0)
        }
    }
}

async fn list(client: &Client, ls: &Ls) -> Result<u8, ClientError> {
    loop {
        let agents = agents_of(client, ls).await?;
        let gates = if ls.json {
            Value::Null
        } else {
            client.get_with("gates", "/v1/status", "ls").await?
        };
        if ls.watch && stdout().is_terminal() {
            let _ = write!(stdout(), "\x1b[H\x1b[J"); // no reader: the next line fails too
        }
        print_agents(&agents, &gates, ls);
        if !ls.watch || stdout().flush().is_err() {
            return Ok(0);
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

fn print_agents(agents: &[Shown], status: &Value, ls: &Ls) {
    let terminal = Terminal::detect(ls.wide);
    if ls.json {
        return agents
            .iter()
            .for_each(|agent| print(&agent.json.to_string()));
    }
    for gate in gates(status, &terminal) {
        hint(&gate);
    }
    let is_filtered =
        ls.state.is_some() || ls.activity.is_some() || ls.agent_type.is_some() || ls.text.is_some();
    match (agents.is_empty(), terminal.columns) {
        (true, _) if is_filtered => hint("No agent matches. All agents: hbmonitor ls"),
        (true, _) => hint(
            "No agent has been heard yet.\n  watch one:    hbsidecar -- claude\n  see a demo:   hbmonitor demo",
        ),
        (false, None) => {
            for agent in agents {
                print(&agents::piped(agent, &terminal));
            }
        }
        (false, Some(columns)) => {
            for line in agents::table(agents, &terminal, columns) {
                print(&line);
            }
            let versions = versions(status).unwrap_or_default();
            hint(&format!("\n{}{versions}", agents::summary(agents)));
        }
    }
}

/// ` Sidecars of several versions: 0.2.0 (41), 0.1.0 (2).`, while there are several.
fn versions(status: &Value) -> Option<String> {
    let listed = status["sidecars"].as_array()?.iter();
    let listed: Vec<String> = listed
        .filter_map(|of| {
            Some(format!(
                "{} ({})",
                plain(of["version"].as_str()?),
                of["agents"]
            ))
        })
        .collect();
    (listed.len() > 1).then(|| format!(" Sidecars of several versions: {}.", listed.join(", ")))
}

/// Why nothing is done by itself, a line each kind of gate.
pub(super) fn gates(status: &Value, terminal: &Terminal) -> Vec<String> {
    let mut kinds: Vec<(&Value, Vec<String>)> = Vec::new();
    for gate in status["gates"].as_array().into_iter().flatten() {
        match kinds
            .iter_mut()
            .find(|(first, _)| first["gate"] == gate["gate"])
        {
            Some((_, also)) => also.extend(gate["host"].as_str().map(str::to_owned)),
            None => kinds.push((gate, Vec::new())),
        }
    }
    let line = |(gate, also): (&Value, Vec<String>)| {
        let text = |name: &str| plain(gate[name].as_str().unwrap_or_default());
        let since = terminal.time(gate["since"].as_u64().unwrap_or(0));
        let name = text("gate").to_uppercase().replace('_', " ");
        let line = format!(
            "{name} since {since}: {} {}",
            text("sentence"),
            also_on(&also)
        );
        line.trim_end().to_owned()
    };
    kinds.into_iter().map(line).collect()
}

async fn agents_of(client: &Client, ls: &Ls) -> Result<Vec<Shown>, ClientError> {
    let mut found = BTreeMap::new();
    for (states, verdicts) in ls.conditions() {
        let mut query = Serializer::new(String::new());
        let pairs = [
            ("state", states),
            ("type", ls.agent_type.clone()),
            ("activity", verdicts),
            ("q", ls.text.clone()),
        ];
        let given = |(name, value): (&'static str, Option<String>)| Some((name, value?));
        query.extend_pairs(pairs.into_iter().filter_map(given));
        let path = format!("/health/agents?{}", query.finish());
        let mut answer = client.get_with("agents", &path, "ls").await?;
        let agents = listed(&mut answer["agents"]).into_iter().map(Shown::of);
        found.extend(agents.map(|agent| (agent.id.clone(), agent)));
    }
    let mut agents: Vec<Shown> = found.into_values().collect();
    agents::sort(&mut agents);
    Ok(agents)
}

impl Ls {
    /// What the API is asked for, as `state` and `activity`: an agent that one of them lists is listed. Of `--state` a word
    /// may be a verdict's.
    fn conditions(&self) -> Vec<(Option<String>, Option<String>)> {
        let activity = self.activity.as_ref().map(|of| &of.verdicts);
        let Some(StateWords { states, verdicts }) = &self.state else {
            return vec![(None, activity.map(|verdicts| joined(verdicts)))];
        };
        let mut conditions = Vec::new();
        if !states.is_empty() {
            conditions.push((
                Some(joined(states)),
                activity.map(|verdicts| joined(verdicts)),
            ));
        }
        let is_asked = |verdict: &&Verdict| activity.is_none_or(|asked| asked.contains(verdict));
        let verdicts: Vec<&Verdict> = verdicts.iter().filter(is_asked).collect();
        if !verdicts.is_empty() {
            conditions.push((None, Some(joined(&verdicts))));
        }
        conditions
    }
}

fn joined<T: serde::Serialize>(words: &[T]) -> String {
    words.iter().map(word).collect::<Vec<_>>().join(",")
}

/// `--activity`: verdicts alone.
fn verdict_words(text: &str) -> Result<StateWords, NoSuchWord> {
    let verdicts = verdicts(text)?;
    Ok(StateWords {
        states: Vec::new(),
        verdicts,
    })
}

/// The entries of an array.
fn listed(value: &mut Value) -> Vec<Value> {
    let listed = value.as_array_mut().map(std::mem::take);
    listed.unwrap_or_default()
}

async fn one(client: &Client, id: &str, as_json: bool) -> Result<u8, ClientError> {
    let command = format!("show {id}");
    let path = super::agent(id);
    let json = match client.get_with("agentId", &path, &command).await {
        Ok(json) => json,
        Err(ClientError::Refused(StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST, _)) => {
            return no_such_agent(client, id).await;
        }
        Err(error) => return Err(error),
    };
    let agent = Shown::of(json);
    if as_json {
        print(&agent.json.to_string());
    } else {
        let incident = match agent.json["incident"].as_str() {
            Some(incident) => client
                .get(&format!("/v1/incidents/{incident}"), &command)
                .await
                .ok(),
            None => None,
        };
        let path = format!(
            "/v1/agents/{}/timeline?limit={}",
            super::escaped(id),
            waits::SEARCHED
        );
        let timeline = client.get(&path, &command).await;
        let (mut timeline, unread) = match timeline {
            Ok(timeline) => (timeline, None),
            Err(error) => (Value::Null, Some(error)), // the rest is shown all the same
        };
        let timeline = listed(&mut timeline["timeline"]);
        let beside = Beside {
            incident: incident.as_ref(),
            timeline: &timeline,
            entries: TIMELINE,
        };
        show::show(&agent, beside, &Terminal::detect(false));
        if let Some(error) = unread {
            hint(&format!("\nThe timeline is not here: {error}"));
        }
    }
    Ok(if show::needs_attention(&agent) { 3 } else { 0 })
}

async fn no_such_agent(client: &Client, id: &str) -> Result<u8, ClientError> {
    if let Some(why) = unknown(client, id).await? {
        complain("hbmonitor", &why);
    }
    Ok(4)
}

/// That no agent has this id, which one may be meant, and where all of them are; `None` when there is one.
pub(super) async fn unknown(client: &Client, id: &str) -> Result<Option<String>, ClientError> {
    let all = client.get_with("agents", "/health/agents", "ls").await?;
    let ids = all["agents"].as_array().into_iter().flatten();
    let ids = ids.filter_map(|agent| agent["agentId"].as_str());
    let ids: Vec<&str> = ids.collect();
    if ids.contains(&id) {
        return Ok(None);
    }
    let near = ids
        .into_iter()
        .map(|known| (distance(id, known), known))
        .filter(|(distance, _)| *distance <= NEAR)
        .min();
    let near = near.map_or_else(String::new, |(_, known)| {
        format!("\n  did you mean: {known}")
    });
    Ok(Some(format!(
        "no agent is called {id:?}{near}\n  all agents:   hbmonitor ls"
    )))
}

/// Of two names; one that begins like the other is near.
fn distance(typed: &str, known: &str) -> usize {
    if known.starts_with(typed) && !typed.is_empty() {
        return 1;
    }
    strsim::damerau_levenshtein(typed, known)
}

async fn incident_list(client: &Client, all: bool, as_json: bool) -> Result<u8, ClientError> {
    let path = if all {
        "/v1/incidents?limit=10000"
    } else {
        "/v1/incidents?open=true&limit=10000"
    };
    let mut answer = client.get_with("incidents", path, "incidents").await?;
    let listed = listed(&mut answer["incidents"]);
    let terminal = Terminal::detect(false);
    match (as_json, terminal.columns) {
        (true, _) => listed.iter().for_each(|one| print(&one.to_string())),
        (false, None) => listed
            .iter()
            .for_each(|one| print(&incidents::piped(one, &terminal))),
        (false, Some(_)) if listed.is_empty() => {
            let last = client
                .get("/v1/incidents?open=false&limit=1", "incidents")
                .await?;
            print(&incidents::none_open(last["incidents"].get(0), &terminal));
        }
        (false, Some(columns)) => {
            for line in incidents::table(&listed, &terminal, columns) {
                print(&line);
            }
            let open = listed
                .iter()
                .filter(|one| one["closedAt"].is_null())
                .count();
            let rest = if all {
                ""
            } else {
                " Closed ones of the last 7 days: hbmonitor incidents --all"
            };
            hint(&format!("\n{open} open.{rest}"));
        }
    }
    Ok(0)
}

async fn finding(client: &Client, state: Option<StateWords>) -> Result<Finding, ClientError> {
    let is_part = state.is_some();
    let ls = Ls {
        state,
        agent_type: None,
        activity: None,
        text: None,
        wide: false,
        json: false,
        watch: false,
    };
    let agents = agents_of(client, &ls).await?;
    let path = "/v1/incidents?open=true";
    let mut incidents = client.get_with("incidents", path, "check").await?;
    let status = client.get_with("gates", "/v1/status", "check").await?;
    let terminal = Terminal::detect(false);
    // Of a part of the fleet only its own incidents count.
    if is_part && let Some(all) = incidents["incidents"].as_array_mut() {
        all.retain(|one| {
            let named = one["agents"].as_array().into_iter().flatten();
            let mut named = named.filter_map(Value::as_str);
            named.any(|id| agents.iter().any(|agent| agent.id == id))
        });
    }
    Ok(check::finding(&agents, &incidents, &status, &terminal))
}
