//! The demo: an embedded store, this monitor, real sidecars with real agents, and a story that must come true.
//!
//! Act one: every agent becomes healthy. Act two: one agent is killed together with its sidecar, so that no process is
//! left to report it. It becomes missing, then failed, by silence alone, while the others stay healthy.

use crate::config::policy::RecoverySettings;
use crate::config::{Config, exit};
use hbshell::service_manager;
use heartbeat::base::duration::format_duration;
use heartbeat::fleet::agent::State;
use heartbeat::fleet::ladder::rung::Rung;
use heartbeat::fleet::machine::Change;
use heartbeat::wire::word;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{broadcast, watch};

/// The agents: id, type and script.
const CAST: [(&str, &str, &str); 3] = [
    ("writer-1", "writer", include_str!("../../demo/writer.sh")),
    ("writer-2", "writer", include_str!("../../demo/writer.sh")),
    ("reader-1", "reader", include_str!("../../demo/reader.sh")),
];
/// The agent that is killed.
const VICTIM: &str = "writer-2";
const INTERVAL: Duration = Duration::from_secs(1);
/// Between the acts: each agent sends its first beats, one a second.
const FIRST_BEATS: Duration = Duration::from_millis(2500);
/// The time limit of an act.
const ACT_WITHIN: Duration = Duration::from_secs(20);

struct Stage {
    sidecars: Vec<(&'static str, Child)>,
    changes: broadcast::Receiver<Change>,
    started: Instant,
}

/// Plays the story. With `once` it ends after it, and the exit code says whether it came true.
pub(crate) async fn play(mut config: Config, once: bool) -> anyhow::Result<u8> {
    let sidecar = sidecar_program()?;
    let (stop, stopped) = watch::channel(false);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let store = crate::bus::find_store::embed(listener, None, stopped.clone())?;
    // Another monitor may use the usual port; any other will do.
    let listener = match TcpListener::bind(config.listen).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind("127.0.0.1:0").await?,
    };
    let http = listener.local_addr()?;
    let url = store.description.clone();
    // The demo may run in a container of its user's.
    config.recovery = RecoverySettings::only(&[Rung::Sidecar, Rung::Alert]);
    let access = crate::access(&config);
    let dashboard = access
        .address(http, None)
        .unwrap_or_else(|| format!("http://{http}/"));
    let running = crate::start(&config, listener, store.address, stopped, access)?;
    println!("hb demo: embedded store on {url}, dashboard on {dashboard}");
    let mut stage = Stage {
        sidecars: Vec::new(),
        changes: running.changes,
        started: Instant::now(),
    };
    let mut end = Box::pin(crate::asked_to_end()?);
    let outcome = tokio::select! {
        outcome = stage.story(&sidecar, &url) => outcome,
        () = &mut end => Err(anyhow::anyhow!("interrupted by a signal")),
    };
    match &outcome {
        Ok(()) => stage.print("The story came true."),
        Err(error) => stage.print(&format!("The story did not come true: {error}")),
    }
    if !once && outcome.is_ok() {
        println!(
            "The fleet keeps running until you press Ctrl-C. To see it, open http://{http}/ in a browser."
        );
        tokio::select! {
            () = stage.narrate() => {}
            () = &mut end => {}
        }
    }
    stage.stop_all().await;
    let _ = stop.send(true); // every receiver has ended already
    Ok(if outcome.is_ok() {
        exit::SUCCESS
    } else {
        exit::FAILURE
    })
}

impl Stage {
    async fn story(&mut self, sidecar: &Path, url: &str) -> anyhow::Result<()> {
        self.print("Act one: three agents start, each under its own sidecar.");
        for (id, kind, script) in CAST {
            self.sidecars
                .push((id, start_sidecar(sidecar, url, id, kind, script)?));
        }
        let mut waited_for: Vec<&str> = CAST.iter().map(|(id, _, _)| *id).collect();
        self.until("every agent is healthy", |change| {
            if change.to == State::Healthy {
                waited_for.retain(|id| *id != change.agent.as_str());
            }
            Ok(waited_for.is_empty())
        })
        .await?;
        tokio::time::sleep(FIRST_BEATS).await;
        self.print(&format!(
            "Act two: {VICTIM} and its sidecar are killed with SIGKILL. No process is left to report it."
        ));
        self.kill_both(VICTIM).await?;
        let mut seen = Vec::new();
        self.until(&format!("{VICTIM} is failed"), |change| {
            anyhow::ensure!(
                change.agent.as_str() == VICTIM,
                "{} changed its state too",
                change.agent
            );
            seen.push(change.to);
            Ok(change.to == State::Failed)
        })
        .await?;
        anyhow::ensure!(
            seen == [State::Missing, State::Failed],
            "its states were {seen:?}, expected missing, then failed"
        );
        Ok(())
    }

    /// Prints changes until `over` is true.
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
                    anyhow::anyhow!(
                        "after {} it is not true that {what}",
                        format_duration(ACT_WITHIN)
                    )
                })??;
            self.narrate_change(&change);
            if over(&change)? {
                return Ok(());
            }
        }
    }

    async fn narrate(&mut self) {
        while let Ok(change) = self.changes.recv().await {
            self.narrate_change(&change);
        }
    }

    fn narrate_change(&self, change: &Change) {
        let from = change.from.map_or("new".to_owned(), |state| word(&state));
        let (agent, to) = (&change.agent, word(&change.to));
        self.print(&format!(
            "  {agent:<9} {from} -> {to:<8} {}",
            change.sentence
        ));
    }

    fn print(&self, text: &str) {
        println!("{:>6.1} s  {text}", self.started.elapsed().as_secs_f64());
    }

    /// Kills an agent and its sidecar at once, as a power cut would: neither can report anything.
    async fn kill_both(&mut self, id: &str) -> anyhow::Result<()> {
        let Some((_, sidecar)) = self.sidecars.iter_mut().find(|(name, _)| *name == id) else {
            anyhow::bail!("{id} is no agent of the demo");
        };
        let groups = sidecar.id().map(groups_of).unwrap_or_default();
        sidecar.start_kill()?;
        for group in groups {
            killpg(group, Signal::SIGKILL)?;
        }
        sidecar.wait().await?;
        Ok(())
    }

    /// Sends SIGTERM to every sidecar; each stops its agent first.
    async fn stop_all(&mut self) {
        for (_, sidecar) in &mut self.sidecars {
            if let Some(pid) = sidecar.id().and_then(|id| i32::try_from(id).ok()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM); // it has exited already
            }
        }
        for (id, sidecar) in &mut self.sidecars {
            if tokio::time::timeout(Duration::from_secs(5), sidecar.wait())
                .await
                .is_err()
            {
                println!("the sidecar of {id} has not exited within 5 s; stop it with kill -9");
            }
        }
    }
}

fn start_sidecar(
    sidecar: &Path,
    url: &str,
    id: &str,
    kind: &str,
    script: &str,
) -> anyhow::Result<Child> {
    let interval = format!("{}ms", INTERVAL.as_millis());
    let mut command = Command::new(sidecar);
    for variable in service_manager::VARIABLES {
        command.env_remove(variable);
    }
    command
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
        .map_err(|error| anyhow::anyhow!("cannot start {}: {error}; install hbsidecar beside hbmonitor or in the search path", sidecar.display()))
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

/// `hbsidecar` beside this program, else in the search path.
fn sidecar_program() -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("hbsidecar");
    Ok(if beside.exists() {
        beside
    } else {
        PathBuf::from("hbsidecar")
    })
}
