//! The demo: an embedded store, this monitor, real sidecars with real agents, and a story that must come true.
//!
//! Act one: every agent becomes healthy. Act two: one agent is killed together with its sidecar, so nothing is left to
//! say a word; it becomes missing, then failed, by silence alone, while the others stay healthy.

use crate::config::{Config, exit};
use heartbeat::base::duration::format_duration;
use heartbeat::fleet::agent::State;
use heartbeat::fleet::machine::Change;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{broadcast, watch};

/// The agents on stage: id, type and script.
const CAST: [(&str, &str, &str); 3] = [
    ("writer-1", "writer", include_str!("../../demo/writer.sh")),
    ("writer-2", "writer", include_str!("../../demo/writer.sh")),
    ("reader-1", "reader", include_str!("../../demo/reader.sh")),
];
/// Who is killed.
const VICTIM: &str = "writer-2";
const INTERVAL: Duration = Duration::from_secs(1);
/// An act that takes longer than this did not come true.
const ACT_WITHIN: Duration = Duration::from_secs(20);

struct Stage {
    sidecars: Vec<(&'static str, Child)>,
    changes: broadcast::Receiver<Change>,
    started: Instant,
}

/// Plays the story. With `once` it ends after it, and the exit code says whether it came true.
pub(crate) async fn play(config: Config, once: bool) -> anyhow::Result<u8> {
    let sidecar = sidecar_program()?;
    let (stop, stopped) = watch::channel(false);
    let store =
        crate::bus::find_store::embed(TcpListener::bind("127.0.0.1:0").await?, stopped.clone())?;
    // Another monitor may hold the usual port; the demo is content with any.
    let listener = match TcpListener::bind(config.listen).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind("127.0.0.1:0").await?,
    };
    let http = listener.local_addr()?;
    let url = store.description.clone();
    let running = crate::start(&config, listener, store.address, stopped);
    println!("hb demo: an embedded store on {url}, the fleet on http://{http}/health/agents");
    let mut stage = Stage {
        sidecars: Vec::new(),
        changes: running.changes,
        started: Instant::now(),
    };
    let mut end = Box::pin(crate::asked_to_end()?);
    let told = tokio::select! {
        told = stage.story(&sidecar, &url) => told,
        () = &mut end => Err(anyhow::anyhow!("interrupted before the story ended")),
    };
    match &told {
        Ok(()) => stage.say("The story came true."),
        Err(error) => stage.say(&format!("The story did not come true: {error}")),
    }
    if !once && told.is_ok() {
        println!("The fleet goes on; Ctrl-C ends it. Look: curl http://{http}/health/agents");
        tokio::select! {
            () = stage.narrate() => {}
            () = &mut end => {}
        }
    }
    stage.clear().await;
    let _ = stop.send(true); // everybody has ended already
    Ok(if told.is_ok() {
        exit::SUCCESS
    } else {
        exit::FAILURE
    })
}

impl Stage {
    async fn story(&mut self, sidecar: &Path, url: &str) -> anyhow::Result<()> {
        self.say("Act one: three agents start, each under a sidecar.");
        for (id, kind, script) in CAST {
            self.sidecars
                .push((id, enter(sidecar, url, id, kind, script)?));
        }
        let mut waited_for: Vec<&str> = CAST.iter().map(|(id, _, _)| *id).collect();
        self.until("every agent is healthy", |change| {
            if change.to == State::Healthy {
                waited_for.retain(|id| *id != change.agent.as_str());
            }
            Ok(waited_for.is_empty())
        })
        .await?;
        self.say(&format!(
            "Act two: {VICTIM} and its sidecar are killed with -9. Nobody is left to tell."
        ));
        self.strike(VICTIM).await?;
        let mut seen = Vec::new();
        self.until("its silence is noticed", |change| {
            anyhow::ensure!(
                change.agent.as_str() == VICTIM,
                "{} changed too",
                change.agent
            );
            seen.push(change.to);
            Ok(change.to == State::Failed)
        })
        .await?;
        anyhow::ensure!(
            seen == [State::Missing, State::Failed],
            "it went through {seen:?}"
        );
        Ok(())
    }

    /// Narrates changes until `over` says so.
    async fn until(
        &mut self,
        what: &str,
        mut over: impl FnMut(&Change) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + ACT_WITHIN;
        loop {
            let change = tokio::time::timeout_at(deadline, self.changes.recv())
                .await
                .map_err(|_| {
                    anyhow::anyhow!("waited {} until {what}", format_duration(ACT_WITHIN))
                })??;
            self.tell(&change);
            if over(&change)? {
                return Ok(());
            }
        }
    }

    async fn narrate(&mut self) {
        while let Ok(change) = self.changes.recv().await {
            self.tell(&change);
        }
    }

    fn tell(&self, change: &Change) {
        let from = change
            .from
            .map_or("new".to_owned(), |state| word(state).to_owned());
        let (agent, to) = (&change.agent, word(change.to));
        self.say(&format!(
            "  {agent:<9} {from} -> {to:<8} {}",
            change.sentence
        ));
    }

    fn say(&self, text: &str) {
        println!("{:>6.1} s  {text}", self.started.elapsed().as_secs_f64());
    }

    /// Ends an agent and its sidecar as a power cut would: both at once, without a word.
    async fn strike(&mut self, id: &str) -> anyhow::Result<()> {
        let Some((_, sidecar)) = self.sidecars.iter_mut().find(|(name, _)| *name == id) else {
            anyhow::bail!("{id} is not on stage");
        };
        let groups = sidecar.id().map(groups_of).unwrap_or_default();
        sidecar.start_kill()?;
        for group in groups {
            killpg(group, Signal::SIGKILL)?;
        }
        sidecar.wait().await?;
        Ok(())
    }

    /// Asks every sidecar to end; each ends its agent first.
    async fn clear(&mut self) {
        for (_, sidecar) in &mut self.sidecars {
            if let Some(pid) = sidecar.id().and_then(|id| i32::try_from(id).ok()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM); // it has ended already
            }
        }
        for (id, sidecar) in &mut self.sidecars {
            if tokio::time::timeout(Duration::from_secs(5), sidecar.wait())
                .await
                .is_err()
            {
                println!("the sidecar of {id} does not end; it is left to its own");
            }
        }
    }
}

fn enter(sidecar: &Path, url: &str, id: &str, kind: &str, script: &str) -> anyhow::Result<Child> {
    let interval = format!("{}ms", INTERVAL.as_millis());
    Command::new(sidecar)
        .args([
            "--redis-url",
            url,
            "--id",
            id,
            "--type",
            kind,
            "--interval",
            &interval,
        ])
        .args(["--", "sh", "-c", script])
        .stdin(std::process::Stdio::null())
        .spawn()
        .map_err(|error| anyhow::anyhow!("cannot start {}: {error}", sidecar.display()))
}

/// The agents of a sidecar: its children, each the leader of a group.
fn groups_of(sidecar: u32) -> Vec<Pid> {
    let path = format!("/proc/{sidecar}/task/{sidecar}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    children
        .split_whitespace()
        .filter_map(|pid| Some(Pid::from_raw(pid.parse().ok()?)))
        .collect()
}

/// `hbsidecar` stands beside this program, or in the search path.
fn sidecar_program() -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("hbsidecar");
    Ok(if beside.exists() {
        beside
    } else {
        PathBuf::from("hbsidecar")
    })
}

fn word(state: State) -> &'static str {
    match state {
        State::Healthy => "healthy",
        State::Missing => "missing",
        State::Failed => "failed",
        State::Stopped => "stopped",
    }
}
