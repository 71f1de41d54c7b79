//! The agents on stage: their scripts in a directory of the demo's own, their sidecars, and what must be ended at the end.

use hbshell::service_manager;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// The agents, by what happens to them.
pub(super) const KILLED: &str = "writer-1";
pub(super) const HUNG: &str = "indexer-1";
pub(super) const CRASHING: &str = "scraper-1";
pub(super) const ORPHANED: &str = "mailer-1";
/// All of them; nothing happens to the last one.
pub(super) const ALL: [&str; 5] = [KILLED, HUNG, CRASHING, ORPHANED, "reader-1"];

/// Each agent runs the script of its type; `start` starts one under its sidecar, `again` is the command of the policy.
const SCRIPTS: [(&str, &str); 7] = [
    ("start.sh", include_str!("../../../demo/start.sh")),
    ("again.sh", include_str!("../../../demo/again.sh")),
    ("writer.sh", include_str!("../../../demo/writer.sh")),
    ("indexer.sh", include_str!("../../../demo/indexer.sh")),
    ("scraper.sh", include_str!("../../../demo/scraper.sh")),
    ("mailer.sh", include_str!("../../../demo/mailer.sh")),
    ("reader.sh", include_str!("../../../demo/reader.sh")),
];
/// Its presence makes the indexer hang.
pub(super) const HANG: &str = "hang";
/// Its presence makes the scraper exit with an error.
pub(super) const BROKEN: &str = "broken";

/// How long the sidecars may take to end, and their agents first.
const END_WITHIN: Duration = Duration::from_secs(20);
const END_POLL: Duration = Duration::from_millis(20);
/// Names of directories that are tried: another demo may have left one behind.
const PLACES: u32 = 100;

/// The agents and all that was started for them.
pub(super) struct Cast {
    dir: PathBuf,
    sidecar: PathBuf,
    store: String,
    sidecars: Vec<(&'static str, Child)>,
    /// An agent whose sidecar was killed.
    orphan: Option<Pid>,
}

impl Cast {
    /// Writes the scripts; nothing is started yet.
    pub(super) fn new(store: &str) -> anyhow::Result<Self> {
        let sidecar = sidecar_program()?;
        let dir = place()?;
        for (name, text) in SCRIPTS {
            std::fs::write(dir.join(name), text)?;
        }
        Ok(Self {
            dir,
            sidecar,
            store: store.to_owned(),
            sidecars: Vec::new(),
            orphan: None,
        })
    }

    /// What starts the sidecar of `HB_AGENT_ID` again.
    pub(super) fn again(&self) -> Vec<String> {
        let mut command = vec!["sh".to_owned(), self.path("again.sh")];
        command.extend(self.surroundings());
        command
    }

    /// Starts every agent under its sidecar.
    pub(super) fn enter(&mut self) -> anyhow::Result<()> {
        for id in ALL {
            let mut command = Command::new("sh");
            for variable in service_manager::VARIABLES {
                command.env_remove(variable);
            }
            let log = File::create(self.dir.join(format!("{id}.log")))?;
            let child = command
                .arg(self.path("start.sh"))
                .args(self.surroundings())
                .arg(id)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()?;
            self.sidecars.push((id, child));
        }
        Ok(())
    }

    /// Makes the file that an agent looks for.
    pub(super) fn break_with(&self, file: &str) -> anyhow::Result<()> {
        File::create(self.dir.join(file))?;
        Ok(())
    }

    /// Removes it.
    pub(super) fn mend(&self, file: &str) -> anyhow::Result<()> {
        std::fs::remove_file(self.dir.join(file))?;
        Ok(())
    }

    /// Kills the sidecar of this agent, whose process is `agent`.
    pub(super) async fn kill_sidecar(&mut self, id: &str, agent: u32) -> anyhow::Result<()> {
        let place = self.sidecars.iter().position(|(name, _)| *name == id);
        let place = place.ok_or_else(|| anyhow::anyhow!("{id} has no sidecar"))?;
        let (_, mut sidecar) = self.sidecars.swap_remove(place);
        self.orphan = Some(process(agent)?);
        sidecar.kill().await?;
        Ok(())
    }

    /// A sidecar that has exited before its time, for a story that does not come true: its exit and the end of its log.
    pub(super) fn exited(&mut self) -> Option<String> {
        for (id, sidecar) in &mut self.sidecars {
            if *id != CRASHING
                && let Ok(Some(status)) = sidecar.try_wait()
            {
                let log = std::fs::read_to_string(self.dir.join(format!("{id}.log")));
                let log = log.unwrap_or_default();
                let last = log.lines().last().unwrap_or_default();
                let program = self.sidecar.display();
                return Some(format!(
                    "{program}, the sidecar of {id}, exited ({status}): {last}"
                ));
            }
        }
        None
    }

    /// Ends every sidecar, each of which ends its agent first, and removes the directory. No command of a policy runs any more.
    pub(super) async fn leave(&mut self) -> anyhow::Result<()> {
        let again: Vec<Pid> = ALL
            .into_iter()
            .filter_map(|id| self.started_again(id))
            .collect();
        if let Some(orphan) = self
            .orphan
            .filter(|_| self.started_again(ORPHANED).is_none())
        {
            let _ = kill(orphan, Signal::SIGKILL); // it has ended
        }
        let own = self.sidecars.iter().filter_map(|(_, sidecar)| sidecar.id());
        let own: Vec<Pid> = own.filter_map(|pid| process(pid).ok()).collect();
        for pid in own.into_iter().chain(again.iter().copied()) {
            let _ = kill(pid, Signal::SIGTERM); // it has exited already
        }
        let ended = async {
            for (_, sidecar) in &mut self.sidecars {
                let _ = sidecar.wait().await; // its exit code is that of its agent
            }
            while again.iter().any(|pid| is_sidecar(*pid)) {
                tokio::time::sleep(END_POLL).await;
            }
        };
        let ended = tokio::time::timeout(END_WITHIN, ended).await;
        let dir = self.dir.display();
        ended.map_err(|_| {
            anyhow::anyhow!(
                "a sidecar has not exited within {END_WITHIN:?}; `pgrep -af {dir}` finds it"
            )
        })?;
        std::fs::remove_dir_all(&self.dir)?;
        Ok(())
    }

    /// The sidecar that the policy's command started.
    fn started_again(&self, id: &str) -> Option<Pid> {
        let text = std::fs::read_to_string(self.dir.join(format!("{id}.pid"))).ok()?;
        let pid = process(text.trim().parse().ok()?).ok()?;
        is_sidecar(pid).then_some(pid)
    }

    fn surroundings(&self) -> [String; 3] {
        let sidecar = self.sidecar.display().to_string();
        [self.dir.display().to_string(), sidecar, self.store.clone()]
    }

    fn path(&self, script: &str) -> String {
        self.dir.join(script).display().to_string()
    }
}

/// Kills the first process of an agent.
pub(super) fn kill_agent(agent: u32) -> anyhow::Result<()> {
    Ok(kill(process(agent)?, Signal::SIGKILL)?)
}

fn process(pid: u32) -> anyhow::Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(pid)?))
}

/// Whether this process is a sidecar that runs: its number may be another program's, and what has exited may not be reaped.
fn is_sidecar(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.contains("(hbsidecar)") && !stat.contains(") Z ")
}

/// A new directory of this user's alone: sockets, scripts and logs.
fn place() -> anyhow::Result<PathBuf> {
    let all = std::env::temp_dir();
    let mut failed = None;
    for number in 0..PLACES {
        let dir = all.join(format!("hb-demo-{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) => failed = Some(error),
        }
    }
    let why = failed.map(|error| error.to_string()).unwrap_or_default();
    anyhow::bail!(
        "cannot make a directory in {}: {why}; set TMPDIR to one where that is possible",
        all.display()
    )
}

/// `hbsidecar` beside this program, else in the search path.
fn sidecar_program() -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("hbsidecar");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&path).map(|dir| dir.join("hbsidecar"));
    let found = std::iter::once(beside)
        .chain(candidates)
        .find(|file: &PathBuf| Path::is_file(file));
    found.ok_or_else(|| {
        anyhow::anyhow!("there is no hbsidecar; install it beside hbmonitor or in the search path")
    })
}
