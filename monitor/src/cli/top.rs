//! `hbmonitor top`: the fleet on a whole screen, read again every two seconds, with keys to act.

mod acts;
mod draw;
mod keys;
mod list;
mod order;
mod screen;

use super::agents::Shown;
use super::client::{Client, ClientError};
use super::reads::gates;
use super::terminal::Terminal;
use super::waits::SEARCHED;
use super::{escaped, path, wish};
use acts::Act;
use hbshell::log_writer::complain;
use keys::Key;
use list::{Detail, List, Wanted};
use screen::Screen;
use serde_json::Value;
use std::io::{IsTerminal, stdin, stdout};
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Between two readings of the fleet; of a large one as long as twenty readings take.
const READ_EVERY: Duration = Duration::from_secs(2);
const READ_SHARE: u32 = 20;
/// Ages are shown by the second; a changed size is seen as fast.
const DRAW_EVERY: Duration = Duration::from_millis(500);
/// The exit code where there is no terminal.
const USAGE: u8 = 2;

type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Shows the fleet until a person quits. Returns the exit code of the process.
pub(super) async fn run(client: &Client) -> Result<u8, ClientError> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        complain(
            "hbmonitor",
            "top needs a terminal; hbmonitor ls prints the list",
        );
        return Ok(USAGE);
    }
    // An error is printed before the screen is taken.
    let first = read(client, Duration::ZERO).await?;
    let failed = |error: std::io::Error| {
        complain(
            "hbmonitor",
            &format!("the terminal cannot be used: {error}"),
        );
        Ok(1)
    };
    match Screen::open() {
        Ok(screen) => follow(client, screen, first).await.or_else(failed),
        Err(error) => failed(error),
    }
}

async fn follow(client: &Client, mut screen: Screen, first: Reading) -> std::io::Result<u8> {
    let mut list = List::new();
    let mut keys = keys::follow();
    let mut end = signal(SignalKind::terminate())?;
    let mut again = tokio::time::interval(DRAW_EVERY);
    let mut reading: Doing<'_, Result<Reading, ClientError>> =
        Box::pin(read(client, first.pause()));
    let mut acting: Option<Doing<'_, String>> = None;
    let mut looking: Option<Doing<'_, Detail>> = None;
    let mut looked_at: Option<String> = None;
    first.show(&mut list);
    loop {
        if looking.is_none() && list.selected != looked_at {
            looked_at.clone_from(&list.selected);
            looking = list.chosen().map(|agent| -> Doing<'_, Detail> {
                let incident = agent.json["incident"].as_str().map(str::to_owned);
                Box::pin(look(client, agent.id.clone(), incident))
            });
        }
        let (terminal, size) = (Terminal::detect(false), Screen::size());
        screen.show(list.lines(&terminal, size.0, size.1), size)?;
        tokio::select! {
            key = keys.recv() => match list.press(key.unwrap_or(Key::Interrupt), now_ms()) {
                Some(Wanted::Quit) => return Ok(0),
                Some(Wanted::Do(act, id)) => {
                    list.note = format!("{} {id} …", act.word());
                    acting = Some(Box::pin(perform(client, act, id)));
                }
                None => {}
            },
            read_again = &mut reading => {
                let pause = match read_again {
                    Ok(found) => {
                        let pause = found.pause();
                        found.show(&mut list);
                        looked_at = None; // what is known of the chosen one is as old
                        pause
                    }
                    Err(error) => {
                        let why = error.to_string();
                        list.stale = why.lines().next().map(str::to_owned);
                        READ_EVERY
                    }
                };
                reading = Box::pin(read(client, pause));
            }
            became = done(&mut acting) => {
                acting = None;
                list.note = became;
            }
            detail = done(&mut looking) => {
                looking = None;
                list.detail = Some(detail);
            }
            _ = again.tick() => {}
            _ = end.recv() => return Ok(0),
        }
    }
}

/// The end of what is being done; none while nothing is.
async fn done<T>(doing: &mut Option<Doing<'_, T>>) -> T {
    match doing {
        Some(doing) => doing.await,
        None => std::future::pending().await,
    }
}

fn now_ms() -> u64 {
    Terminal::detect(false).now_ms
}

/// The fleet, hbmonitor's own state, and how long it took to read.
struct Reading {
    agents: Vec<Shown>,
    status: Value,
    took: Duration,
}

impl Reading {
    /// A large fleet is read less often.
    fn pause(&self) -> Duration {
        READ_EVERY.max(self.took * READ_SHARE)
    }

    fn show(self, list: &mut List) {
        list.gates = gates(&self.status, &Terminal::detect(false));
        list.is_paused = self.status["recovery"]["paused"].is_object();
        list.take(self.agents, now_ms());
    }
}

async fn read(client: &Client, after: Duration) -> Result<Reading, ClientError> {
    tokio::time::sleep(after).await;
    let started = Instant::now();
    let mut answer = client.get_with("agents", "/health/agents", "top").await?;
    let status = client.get_with("gates", "/v1/status", "top").await?;
    let listed = answer["agents"].as_array_mut().map(std::mem::take);
    let agents = listed
        .unwrap_or_default()
        .into_iter()
        .map(Shown::of)
        .collect();
    Ok(Reading {
        agents,
        status,
        took: started.elapsed(),
    })
}

/// What is known of one agent beside the list; without the store, its incident alone.
async fn look(client: &Client, id: String, incident: Option<String>) -> Detail {
    let incident = match incident {
        Some(incident) => {
            let path = format!("/v1/incidents/{incident}");
            client.get(&path, "top").await.ok()
        }
        None => None,
    };
    let path = format!("/v1/agents/{}/timeline?limit={SEARCHED}", escaped(&id));
    let mut answer = client.get(&path, "top").await.unwrap_or_default();
    let timeline = answer["timeline"].as_array_mut().map(std::mem::take);
    Detail {
        id,
        incident,
        timeline: timeline.unwrap_or_default(),
    }
}

/// Asks the monitor. What became of it, for people.
async fn perform(client: &Client, act: Act, id: String) -> String {
    let mut wish = wish();
    if matches!(act, Act::Silence | Act::Pause) {
        wish["for"] = Value::from("1h");
    }
    let path = match act.is_of_fleet() {
        true => format!("/v1/{}", act.word()),
        false => path(&id, act.word()),
    };
    let typed = format!("{} {id}", act.word());
    match client.post(&path, &wish, typed.trim_end()).await {
        Ok(_) => act.done(&id),
        Err(error) => {
            let why = error.to_string();
            why.lines().next().unwrap_or_default().to_owned()
        }
    }
}
