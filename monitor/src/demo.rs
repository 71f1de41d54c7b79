//! The demo: an embedded store, this monitor, real sidecars with real agents, and a story that must come true.
//!
//! Act one: every agent becomes healthy. Act two: one agent is killed, one hangs, one ends again and again, one loses its
//! sidecar. hb brings three of them back by itself; the fourth is brought to a person, who mends it and has it restarted.
//! Each scene waits for what the monitor wrote down of it, and for agents that work again.

mod cast;
mod narration;

use crate::asks::Desk;
use crate::bus::find_store::Origin;
use crate::config::policy::RecoverySettings;
use crate::config::receivers::Receiver;
use crate::config::{Config, exit};
use crate::snapshots::Snapshots;
use cast::{BROKEN, CRASHING, Cast, HANG, HUNG, KILLED, ORPHANED, kill_agent};
use hbshell::log_writer::complain;
use heartbeat::alerts::matter::outcome::PAGED;
use heartbeat::base::duration::format_duration;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::agent::{Agent, State};
use heartbeat::fleet::by_hand::Ask;
use heartbeat::fleet::ladder::exchange::RungOutcome;
use heartbeat::fleet::ladder::rung::Rung;
use heartbeat::fleet::machine::Snapshot;
use heartbeat::wire::life::Reason;
use heartbeat::wire::timeline::TimelineKind;
use heartbeat::wire::word;
use narration::{Narration, Sign, print};
use std::future::Future;
use std::io::{IsTerminal, stdout};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Who is paged.
const PERSON: &str = "you";
/// SIGKILL, as a timeline has it.
const KILL: &str = "9";
/// Beats of each agent before anything happens to it.
const FIRST_BEATS: u64 = 2;
/// The time limit of one scene. A machine that stands still for a moment closes a gate for 45 s, and a storm for a minute.
const SCENE_WITHIN: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(100);
const PAUSE_WITHIN: Duration = Duration::from_secs(2);

struct Stage {
    cast: Cast,
    narration: Narration,
    snapshots: Snapshots,
    desk: Desk,
}

/// An agent as it is before something happens to it.
#[derive(Clone, Copy, Debug)]
struct Before {
    id: &'static str,
    pid: u32,
    /// Epoch and incarnation.
    run: (u64, u64),
    /// Where the timelines were.
    place: usize,
    at: Instant,
}

/// Plays the story. With `once` it ends after it, and the exit code says whether it came true.
pub(crate) async fn play(mut config: Config, once: bool) -> anyhow::Result<u8> {
    let mut end = Box::pin(asked_to_end()?);
    let (stop, stopped) = watch::channel(false);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let store = crate::bus::find_store::embed(listener, None, Origin::Demo, stopped.clone())?;
    // Another monitor may use the usual port; any other will do.
    let listener = match TcpListener::bind(config.listen).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind("127.0.0.1:0").await?,
    };
    let http = listener.local_addr()?;
    let cast = Cast::new(&store.description)?;
    // The demo may run in a container of its user's, and no one but its user is paged.
    let ladder = [Rung::Sidecar, Rung::Exec, Rung::Alert];
    config.recovery = RecoverySettings::only(&ladder, cast.again());
    config.receivers = vec![Receiver::reader(PERSON)?];
    config.deadman = None;
    let access = crate::access(&config);
    let dashboard = access.address(http, None);
    let dashboard = dashboard.unwrap_or_else(|| format!("http://{http}/"));
    let running = crate::start(
        &config,
        listener,
        store.address,
        store.origin,
        stopped,
        access,
    )?;
    let mut stage = Stage {
        cast,
        narration: Narration::new(running.timelines)?,
        snapshots: running.snapshots,
        desk: running.desk,
    };
    let intro = format!(
        "hb demo: embedded store on {}, dashboard on {dashboard}",
        store.description
    );
    let outcome = tokio::select! {
        outcome = stage.story(&intro, (!once).then_some(&dashboard)) => outcome,
        () = &mut end => Err(anyhow::anyhow!("interrupted by a signal")),
    };
    if let Err(error) = &outcome {
        complain(
            "hbmonitor",
            &format!("the story of the demo did not come true: {error:#}"),
        );
    } else if !once {
        tokio::select! {
            _ = stage.go_on() => {} // no one reads any more
            () = &mut end => {}
        }
    }
    stage.end().await;
    let _ = stop.send(true); // every receiver has ended already
    Ok(if outcome.is_ok() {
        exit::SUCCESS
    } else {
        exit::FAILURE
    })
}

impl Stage {
    async fn story(&mut self, intro: &str, dashboard: Option<&String>) -> anyhow::Result<()> {
        print(intro)?;
        if let Some(dashboard) = dashboard.filter(|_| stdout().is_terminal()) {
            open_in_a_browser(dashboard);
        }
        self.narration
            .print("Act one: five agents start, each under its own sidecar.")?;
        self.cast.enter()?;
        let beat = |agent: &Agent| {
            let last = agent.run.beat.as_ref();
            is_well(agent) && last.is_some_and(|beat| beat.sequence >= FIRST_BEATS)
        };
        let all_beat = |_: &Narration, fleet: &Snapshot| {
            cast::ALL.iter().all(|id| find(fleet, id).is_some_and(beat))
        };
        self.wait("every agent is healthy", all_beat).await?;
        self.narration
            .print("Act two: four of them get into trouble, one after the other.")?;
        self.killed().await?;
        self.hung().await?;
        let crashing = self.crashes().await?;
        self.orphaned().await?;
        self.a_person_helps(crashing).await?;
        let all_well = |_: &Narration, fleet: &Snapshot| {
            let open = &fleet.watch.incidents.of_agent;
            open.is_empty()
                && cast::ALL
                    .iter()
                    .all(|id| find(fleet, id).is_some_and(is_well))
        };
        self.wait("every agent works and no incident is open", all_well)
            .await?;
        self.narration
            .print("The story came true: five agents work again, and one page needed a person.")
    }

    async fn killed(&mut self) -> anyhow::Result<()> {
        let before = self.begin(KILLED, "is killed with SIGKILL.").await?;
        kill_agent(before.pid)?;
        let facts = [("event", "exited"), ("signal", KILL)];
        self.sign(&before, TimelineKind::Process, &facts).await?;
        self.works_again(&before).await
    }

    async fn hung(&mut self) -> anyhow::Result<()> {
        let what = "hangs: its shell waits for its child, and the child for the shell.";
        let before = self.begin(HUNG, what).await?;
        self.cast.break_with(HANG)?;
        let facts = [("to", "failed"), ("reason", &word(&Reason::Hung))];
        self.sign(&before, TimelineKind::State, &facts).await?;
        self.works_again(&before).await
    }

    async fn crashes(&mut self) -> anyhow::Result<Before> {
        let what = "has lost its configuration: it exits, however often it is started.";
        let before = self.begin(CRASHING, what).await?;
        self.cast.break_with(BROKEN)?;
        let facts = [("to", "failed"), ("reason", &word(&Reason::CrashLoop))];
        self.sign(&before, TimelineKind::State, &facts).await?;
        Ok(before)
    }

    async fn orphaned(&mut self) -> anyhow::Result<()> {
        let what = "loses its sidecar to SIGKILL, and works on. No process is left to report it.";
        let before = self.begin(ORPHANED, what).await?;
        self.cast.kill_sidecar(ORPHANED, before.pid).await?;
        let facts = [("to", "failed"), ("reason", &word(&Reason::HeartbeatLost))];
        self.sign(&before, TimelineKind::State, &facts).await?;
        self.back_by_command(&before).await?;
        self.works_again(&before).await
    }

    async fn a_person_helps(&mut self, before: Before) -> anyhow::Result<()> {
        let facts = [("receiver", PERSON), ("outcome", PAGED)];
        self.sign(&before, TimelineKind::Notified, &facts).await?;
        self.narration.print(&format!(
            "You read the page, mend the configuration, and type: hbmonitor restart {CRASHING}"
        ))?;
        self.cast.mend(BROKEN)?;
        let ask = Ask::Restart(AgentId::parse(CRASHING)?);
        let answer = self.desk.ask(ask, PERSON.to_owned(), String::new()).await;
        answer.ok_or_else(|| anyhow::anyhow!("the hub has ended"))??;
        self.back_by_command(&before).await?;
        self.works_again(&before).await
    }

    /// Announces what happens to an agent next.
    async fn begin(&mut self, id: &'static str, what: &str) -> anyhow::Result<Before> {
        self.narration.follow().await?;
        let mut found = None;
        let runs = |narration: &Narration, fleet: &Snapshot| {
            let agent = find(fleet, id).filter(|agent| is_well(agent));
            found = agent.map(|agent| Before {
                id,
                pid: pid(agent),
                run: (agent.run.epoch, agent.run.restarts()),
                place: narration.place(),
                at: Instant::now(),
            });
            found.is_some_and(|before| before.pid != 0)
        };
        self.wait(&format!("{id} runs"), runs).await?;
        self.narration.print(&format!("{id} {what}"))?;
        found.ok_or_else(|| anyhow::anyhow!("{id} is not there"))
    }

    /// Waits until the monitor has written this down about the agent.
    async fn sign(
        &mut self,
        before: &Before,
        kind: TimelineKind,
        facts: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let sign = Sign {
            agent: before.id,
            kind,
            facts,
        };
        let what = format!("{}: {} {facts:?}", before.id, word(&kind));
        let came = |narration: &Narration, _: &Snapshot| narration.has(before.place, &sign);
        self.wait(&what, came).await
    }

    async fn back_by_command(&mut self, before: &Before) -> anyhow::Result<()> {
        let outcome = RungOutcome::Recovered.as_str();
        let facts = [("rung", Rung::Exec.as_str()), ("outcome", outcome)];
        self.sign(before, TimelineKind::Rung, &facts).await
    }

    /// Waits until the agent is healthy in another run than before.
    async fn works_again(&mut self, before: &Before) -> anyhow::Result<()> {
        let id = before.id;
        let mut now = 0;
        let back = |_: &Narration, fleet: &Snapshot| {
            let agent = find(fleet, id).filter(|agent| is_well(agent));
            let agent = agent.filter(|agent| (agent.run.epoch, agent.run.restarts()) != before.run);
            now = agent.map_or(0, pid);
            now != 0
        };
        self.wait(&format!("{id} works again"), back).await?;
        let after = before.at.elapsed().as_secs_f64();
        let process = if now == before.pid {
            format!("pid {now} never stopped")
        } else {
            format!("pid {} before, {now} now", before.pid)
        };
        self.narration
            .print(&format!("{id} works again, {after:.1} s later: {process}."))
    }

    /// Prints what happens until it is true.
    async fn wait(
        &mut self,
        what: &str,
        mut is_true: impl FnMut(&Narration, &Snapshot) -> bool,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            self.narration.follow().await?;
            let fleet = self.snapshots.get().await;
            let fleet = fleet.ok_or_else(|| anyhow::anyhow!("the hub has ended"))?;
            if is_true(&self.narration, &fleet) {
                return Ok(());
            }
            if let Some(exit) = self.cast.exited() {
                anyhow::bail!(exit);
            }
            let limit = format_duration(SCENE_WITHIN);
            anyhow::ensure!(
                started.elapsed() < SCENE_WITHIN,
                "waited {limit} until {what}"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// The fleet after the story.
    async fn go_on(&mut self) -> anyhow::Result<()> {
        print("The fleet keeps running until you press Ctrl-C.")?;
        loop {
            self.narration.follow().await?;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Nothing is started any more; then all that was started is ended.
    async fn end(&mut self) {
        let pause = self
            .desk
            .ask(Ask::Pause(None), PERSON.to_owned(), String::new());
        let _ = tokio::time::timeout(PAUSE_WITHIN, pause).await; // the hub has ended
        if let Err(error) = self.cast.leave().await {
            complain("hbmonitor", &format!("{error:#}"));
        }
    }
}

fn find<'a>(fleet: &'a Snapshot, id: &str) -> Option<&'a Agent> {
    fleet.agents.get(&AgentId::parse(id).ok()?)
}

fn is_well(agent: &Agent) -> bool {
    agent.state == State::Healthy && agent.reason.is_none()
}

/// Its process; 0 for none.
fn pid(agent: &Agent) -> u32 {
    let last = agent.run.beat.as_ref().and_then(|beat| beat.hb);
    last.map_or(0, |hb| hb.pid)
}

/// Shows the dashboard where there is a screen: `$BROWSER`, else the desktop's own choice. Without either its address is printed.
fn open_in_a_browser(dashboard: &str) {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let has_screen = set("DISPLAY").or_else(|| set("WAYLAND_DISPLAY")).is_some();
    let usual = has_screen.then(|| "xdg-open".into());
    let Some(program) = set("BROWSER").or(usual) else {
        return;
    };
    let browser = std::process::Command::new(program)
        .arg(dashboard)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    drop(browser); // it is not there, or goes on beside the demo
}

/// A terminal that is closed ends the demo too.
fn asked_to_end() -> std::io::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let end = crate::asked_to_end()?;
    Ok(async move {
        tokio::select! {
            _ = hangup.recv() => {}
            () = end => {}
        }
    })
}
