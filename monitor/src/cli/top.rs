//! `hbmonitor top`: the fleet on a whole screen, read again every two seconds, with keys to act.

mod keys;
mod list;
mod order;
mod screen;

use super::agents::Shown;
use super::client::{Client, ClientError};
use super::terminal::Terminal;
use super::{path, wish};
use hbshell::log_writer::complain;
use keys::Key;
use list::{Act, List, Wanted};
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
    list.take(first.agents, Terminal::detect(false).now_ms);
    loop {
        let (terminal, size) = (Terminal::detect(false), Screen::size());
        screen.show(list.lines(&terminal, size.0, size.1), size)?;
        tokio::select! {
            key = keys.recv() => match list.press(key.unwrap_or(Key::Interrupt)) {
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
                        list.take(found.agents, Terminal::detect(false).now_ms);
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
            became = async { match &mut acting { Some(acting) => acting.await, None => std::future::pending().await } } => {
                acting = None;
                list.note = became;
            }
            _ = again.tick() => {}
            _ = end.recv() => return Ok(0),
        }
    }
}

/// The fleet, and how long it took to read.
struct Reading {
    agents: Vec<Shown>,
    took: Duration,
}

impl Reading {
    /// A large fleet is read less often.
    fn pause(&self) -> Duration {
        READ_EVERY.max(self.took * READ_SHARE)
    }
}

async fn read(client: &Client, after: Duration) -> Result<Reading, ClientError> {
    tokio::time::sleep(after).await;
    let started = Instant::now();
    let mut answer = client.get("/health/agents", "top").await?;
    let listed = answer["agents"].as_array_mut().map(std::mem::take);
    let agents = listed
        .unwrap_or_default()
        .into_iter()
        .map(Shown::of)
        .collect();
    Ok(Reading {
        agents,
        took: started.elapsed(),
    })
}

/// Asks the monitor. What became of it, for people.
async fn perform(client: &Client, act: Act, id: String) -> String {
    let mut wish = wish();
    if act == Act::Silence {
        wish["for"] = Value::from("1h");
    }
    let typed = format!("{} {id}", act.word());
    let asked = client.post(&path(&id, act.word()), &wish, &typed).await;
    match asked {
        Ok(_) => match act {
            Act::Acknowledge => format!("{id} is acknowledged: quiet until it is over."),
            Act::Restart => format!("{id}: ordered, its sidecar ends it and starts it again."),
            Act::Silence => format!("{id} is silenced for 1 h."),
            Act::Stop => format!("{id}: ordered, its sidecar ends it."),
        },
        Err(error) => error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}
