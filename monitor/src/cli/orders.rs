//! `hbmonitor restart`, `recover`, `capture` and `stop`: asked for, then followed on the agent's timeline until it is seen what came of it.

use super::client::{Client, ClientError};
use super::terminal::{Terminal, plain};
use super::waits::{self, SEARCHED};
use super::{CommandError, agent, path, say, wish};
use heartbeat::fleet::ladder::exchange::RungOutcome;
use heartbeat::fleet::word::Word;
use heartbeat::wire::order::DONE;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the monitor is asked what became of it.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How long it may take: the agent's grace, a start, a beat.
const DONE_WITHIN: Duration = Duration::from_secs(90);
/// Entries of the timeline that may come between two questions.
const NEWEST: usize = 50;

pub(super) async fn restart(client: &Client, id: &str, yes: bool) -> Result<(), CommandError> {
    let mut follow = Follow::begin(client, id, "restart").await?;
    confirm(&follow.before, id, "Restart it?", "restart", yes)?;
    let begun = follow.ask(wish(), "restart").await?;
    follow.say(&match begun["incident"]["id"].as_str() {
        Some(incident) => format!("begun: a rung of incident {incident}"),
        None => "ordered: its sidecar ends it and starts it again".to_owned(),
    });
    follow.until_back().await
}

pub(super) async fn recover(
    client: &Client,
    id: &str,
    rung: Option<&str>,
    dry_run: bool,
) -> Result<(), CommandError> {
    let mut follow = Follow::begin(client, id, "recover").await?;
    let mut wish = wish();
    wish["rung"] = rung.into();
    wish["dryRun"] = dry_run.into();
    let begun = follow.ask(wish, "recover").await?;
    if begun["order"].is_object() {
        follow.say("ordered: its sidecar applies the remedy of its verdict, if there is one");
        return follow.until_answered().await;
    }
    if !dry_run {
        let incident = begun["incident"]["id"].as_str().unwrap_or_default();
        follow.say(&format!("begun: a rung of incident {incident}"));
        return follow.until_back().await;
    }
    for rung in begun["plan"].as_array().into_iter().flatten() {
        let text = |key: &str| rung[key].as_str().unwrap_or_default();
        let (when, name, detail) = (text("when"), text("rung"), text("detail"));
        say(&format!("{when:<6} {name}: {detail}"));
    }
    say("Nothing was done.");
    Ok(())
}

/// Prints the tree of the entry that the order brings.
pub(super) async fn capture(client: &Client, id: &str) -> Result<(), CommandError> {
    let mut follow = Follow::begin(client, id, "capture").await?;
    follow.ask(wish(), "capture").await?;
    follow.until_answered().await?;
    let path = format!("{}?limit={SEARCHED}", path(id, "timeline"));
    let mut part = client.get(&path, &follow.typed).await?;
    let timeline = part["timeline"].as_array_mut().map(std::mem::take);
    let terminal = Terminal::detect(false);
    let columns = terminal.columns.unwrap_or(usize::MAX);
    for line in waits::lines(&timeline.unwrap_or_default(), &terminal, columns) {
        say(&line);
    }
    Ok(())
}

pub(super) async fn stop(client: &Client, id: &str, yes: bool) -> Result<(), CommandError> {
    let mut follow = Follow::begin(client, id, "stop").await?;
    confirm(&follow.before, id, "Stop it?", "stop", yes)?;
    follow.ask(wish(), "stop").await?;
    follow.say("ordered: its sidecar ends it");
    follow
        .until(|health, _| health["state"] == "stopped")
        .await?;
    follow.say(&format!(
        "{} {id} is stopped. It stays so until you start it.",
        follow.mark(Word::Stopped)
    ));
    Ok(())
}

/// One request, and what came of it so far.
struct Follow<'a> {
    client: &'a Client,
    id: &'a str,
    /// What the user typed, for errors.
    typed: String,
    terminal: Terminal,
    /// The agent as it was.
    before: Value,
    /// Entries of its timeline that are known.
    known: BTreeSet<String>,
    /// The order that its sidecar got.
    order: Option<String>,
    /// Its sidecar has answered that order.
    is_answered: bool,
    /// The last rung that did not help.
    failed: Option<String>,
    started: Instant,
}

impl<'a> Follow<'a> {
    async fn begin(client: &'a Client, id: &'a str, command: &str) -> Result<Self, CommandError> {
        let typed = format!("{command} {id}");
        let mut follow = Self {
            client,
            id,
            before: client.get(&agent(id), &typed).await?,
            typed,
            terminal: Terminal::detect(false),
            known: BTreeSet::new(),
            order: None,
            is_answered: false,
            failed: None,
            started: Instant::now(),
        };
        follow.news().await?;
        Ok(follow)
    }

    async fn ask(&mut self, wish: Value, action: &str) -> Result<Value, CommandError> {
        let path = path(self.id, action);
        self.started = Instant::now();
        let begun = self.client.post(&path, &wish, &self.typed).await?;
        self.order = begun["order"]["id"].as_str().map(str::to_owned);
        Ok(begun)
    }

    /// Waits for a fresh beat of a new incarnation.
    async fn until_back(&mut self) -> Result<(), CommandError> {
        let run = |health: &Value| (health["epoch"].as_u64(), health["restarts"].as_u64());
        let before = run(&self.before);
        let back = |health: &Value, _| run(health) != before && health["state"] == "healthy";
        let after = self.until(back).await?;
        let seconds = self.started.elapsed().as_secs_f64();
        let (id, pid) = (self.id, after["pid"].as_u64().unwrap_or(0));
        let mark = self.mark(Word::Healthy);
        self.say(&format!(
            "{mark} fresh beat: {id} is healthy, pid {pid}, after {seconds:.1} s"
        ));
        Ok(())
    }

    /// Waits until its sidecar has carried the order out.
    async fn until_answered(&mut self) -> Result<(), CommandError> {
        self.until(|_, is_answered| is_answered).await.map(|_| ())
    }

    /// Prints what happens until the agent is as wanted: it, and whether its sidecar has answered the order.
    async fn until(
        &mut self,
        wanted: impl Fn(&Value, bool) -> bool,
    ) -> Result<Value, CommandError> {
        loop {
            for entry in self.news().await? {
                self.take(&entry)?;
            }
            let health = self.client.get(&agent(self.id), &self.typed).await?;
            if wanted(&health, self.is_answered) {
                return Ok(health);
            }
            let (id, text) = (self.id, |name: &str| {
                health[name].as_str().unwrap_or_default()
            });
            if let Some(failed) = self.failed.as_ref().filter(|_| text("attention") == "you") {
                let why = format!("{id} is not back, and nothing more is done by itself: {failed}");
                return Err(CommandError::Failed(why));
            }
            if self.started.elapsed() >= DONE_WITHIN {
                let (state, sentence) = (text("state"), text("sentence"));
                let why = format!("{id} is {state} after 90 s: {sentence}");
                return Err(CommandError::Failed(why));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// A new entry: printed, and an end of the wait when its sidecar does not do what was ordered.
    fn take(&mut self, entry: &Value) -> Result<(), CommandError> {
        let fact = |name: &str| entry["facts"][name].as_str();
        let text =
            [&entry["what"], &entry["detail"]].map(|text| plain(text.as_str().unwrap_or_default()));
        let line = text
            .iter()
            .filter(|text| !text.is_empty())
            .cloned()
            .collect::<Vec<_>>()
            .join(": ");
        match entry["kind"].as_str() {
            // The request itself.
            Some("asked") => return Ok(()),
            Some("order") if self.order.is_some() && fact("order") == self.order.as_deref() => {
                if fact("outcome") != Some(DONE) {
                    return Err(CommandError::Failed(format!("{}: {line}", self.id)));
                }
                self.is_answered = true;
            }
            Some("rung")
                if fact("outcome")
                    .is_some_and(|outcome| outcome != RungOutcome::Recovered.as_str()) =>
            {
                self.failed = Some(line.clone());
            }
            Some(_) | None => {}
        }
        let at = self.terminal.time(entry["at"].as_u64().unwrap_or(0));
        say(&format!("{at}  {line}"));
        Ok(())
    }

    /// Entries that were not there before, the oldest first.
    async fn news(&mut self) -> Result<Vec<Value>, ClientError> {
        let path = format!("{}?limit={NEWEST}", path(self.id, "timeline"));
        let part = match self.client.get(&path, &self.typed).await {
            Ok(part) => part,
            Err(ClientError::Refused(..)) => return Ok(Vec::new()), // the store is away: asked again
            Err(error) => return Err(error),
        };
        let entries = part["timeline"].as_array().into_iter().flatten().rev();
        let is_new = |entry: &&Value| {
            let place = entry["id"].as_str().unwrap_or_default();
            self.known.insert(place.to_owned())
        };
        Ok(entries.filter(is_new).cloned().collect())
    }

    fn mark(&self, word: Word) -> String {
        self.terminal
            .paint(word, &self.terminal.glyph(word).to_string())
    }

    /// With the time of day.
    fn say(&self, line: &str) {
        let now = Terminal::detect(false);
        say(&format!("{}  {line}", now.time(now.now_ms)));
    }
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
