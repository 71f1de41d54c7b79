//! The HTTP view of an agent: the seed's `HealthStatus` and what hb adds. A function of a snapshot.

use crate::base::duration::format_duration;
use crate::base::id::AgentId;
use crate::base::moment::{Moment, millis};
use crate::base::version::Version;
use crate::fleet::agent::{Agent, Since, State};
use crate::fleet::asked::AnyOf;
use crate::fleet::card::{rank, word};
use crate::fleet::last_beat::LastBeat;
use crate::fleet::machine::{Counts, Snapshot};
use crate::fleet::packed::Packed;
use crate::fleet::watch::WatchView;
use crate::fleet::word::Rank;
use crate::wire::beat::view::RuntimeView;
use crate::wire::beat::{Metrics, Status, Verdict};
use crate::wire::incident::IncidentId;
use crate::wire::life::{Reason, Standing};
use serde::Serialize;
use std::borrow::Cow;
use std::time::Duration;

/// One agent, as it is shown: the fields of the API, in their order there.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields of the API")]
pub struct HealthStatus<'a> {
    pub id: &'a AgentId,
    pub state: State,
    /// The sender's wall clock at its last beat, Unix milliseconds.
    pub last_heartbeat: Option<u64>,
    pub missed_beats: u64,
    pub uptime_seconds: u64,
    pub agent_type: &'a str,
    pub status: Option<Status>,
    pub reason: Option<Reason>,
    pub activity: Option<Packed<'a>>,
    pub sentence: Cow<'a, str>,
    pub next: Option<String>,
    pub current_task: Option<&'a str>,
    pub task_progress: Option<f64>,
    /// `STATUS=` of sd_notify; left out when there is none.
    pub status_text: Option<&'a str>,
    pub metrics: Option<Metrics>,
    /// What an agent without a process was doing last; each is left out when there is none.
    pub last_task: Option<&'a str>,
    pub last_task_progress: Option<f64>,
    pub last_metrics: Option<Metrics>,
    pub host: Option<&'a str>,
    pub pid: Option<u32>,
    pub epoch: u64,
    pub restarts: u64,
    /// Since when the state holds, Unix milliseconds of the monitor.
    pub since: u64,
    pub incident: Option<&'a IncidentId>,
    /// `you`: only a person helps; `hb`: hb is looking after it; left out when there is nothing to do.
    pub attention: Option<&'static str>,
    /// The store refuses what its sidecar writes.
    pub store_refuses: bool,
    /// Of its sidecar; left out when it reports none.
    pub hb_version: Option<Version>,
    pub runtime: Option<RuntimeView<'a>>,
}

/// Which agents are asked for. Every condition that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// One of these states.
    pub states: Option<Vec<State>>,
    /// One of these types, exactly.
    pub agent_type: Option<AnyOf>,
    /// One of these hosts, exactly.
    pub host: Option<AnyOf>,
    /// One of these verdicts.
    pub verdicts: Option<Vec<Verdict>>,
    /// Part of id, type, host or task; upper and lower case are the same.
    pub text: Option<String>,
    /// At most so many; all when absent.
    pub limit: Option<usize>,
    /// Only ids after this one.
    pub after: Option<AgentId>,
}

/// The agents that a filter asks for, as JSON in pieces: `{total, healthy, missing, failed, stopped, agents, nextCursor?}`.
///
/// The counts are of the whole fleet. Each piece may be written from another snapshot: it goes on behind the last id, so that
/// no agent comes twice.
#[derive(Clone, Debug)]
pub struct Listing {
    filter: Filter,
    /// The text that is looked for, in lower case.
    wanted: Option<String>,
    /// Agents that may still be written.
    left: usize,
    /// The agent that was written last.
    last: Option<AgentId>,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing is written.
    New,
    /// The next row is the first.
    BeforeRows,
    InRows,
}

/// When the view is taken, on both clocks: moments decide, the wall clock is shown.
#[derive(Clone, Copy, Debug)]
pub struct ViewTime {
    /// The monitor's own clock.
    pub now: Moment,
    /// Unix milliseconds.
    pub wall_ms: u64,
}

impl<'a> HealthStatus<'a> {
    /// With the open incident that it belongs to, and with what recovery does next where its sidecar does nothing by itself.
    pub fn watched_by(self, watch: &'a WatchView, at: ViewTime) -> Self {
        let id = self.id;
        let next = watch.next.get(id).map(|next| next.sentence(at.now));
        let notice = watch.notices.open.get(id).and_then(|notice| notice.restart);
        let restart = notice.map(|restart| restart_sentence(restart.at, at.wall_ms));
        Self {
            incident: watch.incidents.of_agent.get(id),
            next: restart.or(self.next).or(next),
            ..self
        }
    }

    /// Who has to do something about it.
    pub fn of_rank(self, rank: Rank) -> Self {
        let attention = match rank {
            Rank::NeedsYou => Some("you"),
            Rank::OnIt => Some("hb"),
            Rank::Unknown | Rank::AtWork | Rank::AtRest | Rank::Stopped => None,
        };
        Self { attention, ..self }
    }

    /// One agent as it is at that time.
    pub fn of(id: &'a AgentId, agent: &'a Agent, at: ViewTime) -> Self {
        let run = &agent.run;
        let beat = run.beat.as_ref();
        let hb = beat.and_then(|b| b.hb);
        // An agent without a process has no task, figures or activity; those of the ended run have names of their own.
        let (living, dead) = if agent.is_alive() {
            (beat, None)
        } else {
            (None, run.last_alive().or(beat))
        };
        // The final beat has the task that the agent reported last.
        let final_beat = dead
            .and(beat)
            .filter(|beat| beat.current_task().is_some())
            .or(dead);
        let task = |of: Option<&'a LastBeat>| of.and_then(|beat| beat.current_task());
        let missed_beats = match agent.state {
            State::Healthy | State::Stopped => 0,
            State::Missing | State::Failed => run.detector.missed(at.now),
        };
        let pid = hb.map(|hb| hb.pid).filter(|pid| *pid != 0);
        // Of a silent, a suspended or a left one the number is still of use.
        let gone = agent.state == State::Stopped && run.life.is_watched();
        let shows_pid = run.life.has_process() && !gone;
        Self {
            id,

            state: agent.state,
            last_heartbeat: beat.map(|b| b.timestamp_ms),
            missed_beats,
            uptime_seconds: agent.uptime(at.now).as_secs(),
            agent_type: type_of(agent),
            status: status_of(agent),
            reason: agent.reason,
            activity: living.and_then(LastBeat::packed_activity),
            sentence: agent.sentence(at.now),
            next: agent.next(at.now),
            current_task: task(living),
            task_progress: living.and_then(|b| b.task_progress),
            status_text: living.and_then(|beat| beat.status_text()),
            metrics: beat.map(|_| living.map_or_else(Metrics::default, |b| b.metrics)),
            last_task: task(final_beat),
            last_task_progress: final_beat.and_then(|b| b.task_progress),
            last_metrics: dead.map(|b| b.metrics),
            host: agent.host(),
            pid: pid.filter(|_| shows_pid),
            epoch: run.epoch,
            restarts: run.restarts(),
            since: match agent.since {
                Since::Seen(since) => at.wall_ms.saturating_sub(millis(at.now.since(since))),
                Since::Reported(wall_ms) => wall_ms,
            },
            incident: None,
            attention: None,
            store_refuses: living.and(hb).is_some_and(|hb| hb.store_refuses),
            hb_version: run.hb_version(),
            runtime: beat.and_then(LastBeat::runtime).or_else(|| {
                let entry = run.entry()?;
                entry.runtime.as_ref().map(RuntimeView::from)
            }),
        }
    }

    /// Adds the agent as JSON, in the seed's camelCase. By hand: a fleet has 100,000 of them, and its keys need no escape.
    pub fn write(&self, out: &mut Vec<u8>) {
        field(out, r#"{"agentId":"#, self.id.as_str());
        field(out, r#","state":"#, &self.state);
        field(out, r#","lastHeartbeat":"#, &self.last_heartbeat);
        field(out, r#","missedBeats":"#, &self.missed_beats);
        field(out, r#","uptimeSeconds":"#, &self.uptime_seconds);
        field(out, r#","agentType":"#, self.agent_type);
        field(out, r#","status":"#, &self.status);
        field(out, r#","reason":"#, &self.reason);
        text(out, r#","activity":"#);
        match self.activity {
            Some(activity) => activity.write(out),
            None => text(out, "null"),
        }
        field(out, r#","sentence":"#, &self.sentence);
        field(out, r#","next":"#, &self.next);
        field(out, r#","currentTask":"#, &self.current_task);
        field(out, r#","taskProgress":"#, &self.task_progress);
        given(out, r#","statusText":"#, self.status_text.as_ref());
        text(out, r#","metrics":"#);
        match &self.metrics {
            Some(figures) => metrics(out, figures),
            None => text(out, "null"),
        }
        given(out, r#","lastTask":"#, self.last_task.as_ref());
        given(
            out,
            r#","lastTaskProgress":"#,
            self.last_task_progress.as_ref(),
        );
        if let Some(last) = &self.last_metrics {
            text(out, r#","lastMetrics":"#);
            metrics(out, last);
        }
        field(out, r#","host":"#, &self.host);
        field(out, r#","pid":"#, &self.pid);
        field(out, r#","epoch":"#, &self.epoch);
        field(out, r#","restarts":"#, &self.restarts);
        field(out, r#","since":"#, &self.since);
        field(out, r#","incident":"#, &self.incident);
        given(out, r#","attention":"#, self.attention.as_ref());
        if self.store_refuses {
            text(out, r#","badges":["store_refuses_writes"]"#);
        }
        given(out, r#","hbVersion":"#, self.hb_version.as_ref());
        match self.runtime {
            Some(RuntimeView { kind, id }) => {
                field(out, r#","runtime":{"kind":"#, kind);
                field(out, r#","id":"#, id);
                text(out, "}}");
            }
            None => text(out, r#","runtime":null}"#),
        }
    }
}

fn metrics(out: &mut Vec<u8>, of: &Metrics) {
    field(out, r#"{"cpuPercent":"#, &of.cpu_percent);
    field(out, r#","memoryMB":"#, &of.memory_mb);
    field(out, r#","activeTasks":"#, &of.active_tasks);
    field(out, r#","queueDepth":"#, &of.queue_depth);
    field(out, r#","tokensUsedThisHour":"#, &of.tokens_used_this_hour);
    field(out, r#","errorsLast5Min":"#, &of.errors_last_5_min);
    text(out, "}");
}

/// A value behind its key.
fn field<T: Serialize + ?Sized>(out: &mut Vec<u8>, key: &str, value: &T) {
    text(out, key);
    let _ = serde_json::to_writer(out, value); // into memory, and no value here has a key that is no text
}

/// As [`field`], for a value that is left out when it is absent.
fn given<T: Serialize>(out: &mut Vec<u8>, key: &str, value: Option<&T>) {
    if let Some(value) = value {
        field(out, key, value);
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

impl Listing {
    /// A listing that has written nothing yet.
    pub fn new(filter: Filter) -> Self {
        Self {
            wanted: filter.text.as_deref().map(str::to_lowercase),
            left: filter.limit.unwrap_or(usize::MAX),
            last: filter.after.clone(),
            filter,
            progress: Progress::New,
        }
    }

    /// Adds the next piece of JSON to `out`, until that has `size` bytes or some more. False when the listing is complete.
    pub fn write(
        &mut self,
        snapshot: &Snapshot,
        at: ViewTime,
        size: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        if self.progress == Progress::New {
            counts(out, snapshot.counts);
            self.progress = Progress::BeforeRows;
        }
        let after = self.last.clone();
        let rows = snapshot.agents.after(after.as_ref());
        let wanted =
            rows.filter(|(id, agent)| fits(&self.filter, self.wanted.as_deref(), id, agent));
        for (id, agent) in wanted {
            if out.len() >= size {
                return true;
            }
            if self.left == 0 {
                field(out, r#"],"nextCursor":"#, &self.last);
                text(out, "}");
                return false;
            }
            if self.progress == Progress::InRows {
                text(out, ",");
            }
            let word = word(id, agent, snapshot, at);
            HealthStatus::of(id, agent, at)
                .watched_by(&snapshot.watch, at)
                .of_rank(rank(id, word, snapshot))
                .write(out);
            self.progress = Progress::InRows;
            self.left -= 1;
            self.last = Some(id.clone());
        }
        text(out, "]}");
        false
    }
}

/// The counts of the whole fleet, and the beginning of the rows.
fn counts(out: &mut Vec<u8>, counts: Counts) {
    field(out, r#"{"total":"#, &counts.total());
    field(out, r#","healthy":"#, &counts.healthy);
    field(out, r#","missing":"#, &counts.missing);
    field(out, r#","failed":"#, &counts.failed);
    field(out, r#","stopped":"#, &counts.stopped);
    text(out, r#","agents":["#);
}

fn fits(filter: &Filter, text: Option<&str>, id: &AgentId, agent: &Agent) -> bool {
    let beat = agent.run.beat.as_ref().filter(|_| agent.is_alive());
    let verdict = || beat.and_then(|beat| beat.hb?.verdict);
    let of = |asked: &Option<AnyOf>, text: Option<&str>| {
        asked
            .as_ref()
            .is_none_or(|asked| text.is_some_and(|text| asked.fits(text)))
    };
    filter
        .states
        .as_ref()
        .is_none_or(|states| states.contains(&agent.state))
        && of(&filter.agent_type, Some(type_of(agent)))
        && of(&filter.host, agent.host())
        && filter
            .verdicts
            .as_ref()
            .is_none_or(|verdicts| verdict().is_some_and(|verdict| verdicts.contains(&verdict)))
        && text.is_none_or(|text| {
            let task = beat.and_then(|b| b.current_task());
            [Some(id.as_str()), Some(type_of(agent)), agent.host(), task]
                .into_iter()
                .flatten()
                .any(|part| part.to_lowercase().contains(text))
        })
}

/// The load as the agent's last beat has it; without a process `stopped`, before the first beat `starting`.
fn status_of(agent: &Agent) -> Option<Status> {
    let run = &agent.run;
    if agent.state == State::Stopped {
        return Some(Status::Stopped);
    }
    match run.life.standing() {
        Standing::Off => Some(Status::Stopped),
        Standing::Down(_) => None,
        Standing::Up | Standing::Stopping | Standing::Troubled(_) => match &run.beat {
            Some(beat) => Some(beat.status),
            None => (agent.state == State::Healthy).then_some(Status::Starting),
        },
    }
}

/// What follows a suspicion that lasts.
fn restart_sentence(due_ms: u64, wall_ms: u64) -> String {
    let within = Duration::from_millis(due_ms.saturating_sub(wall_ms));
    let within = format_duration(within);
    format!("hb restarts it in {within} unless it moves, you acknowledge or silence it.")
}

pub(super) fn type_of(agent: &Agent) -> &str {
    let beat = agent.run.beat.as_ref().map(LastBeat::agent_type);
    let entry = agent.run.entry();
    beat.or(entry.map(|entry| entry.agent_type.as_str()))
        .unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::machine::{Fleet, FleetInput, FleetSettings};
    use crate::wire::beat::Beat;
    use serde_json::Value;

    const AT: ViewTime = ViewTime {
        now: Moment::from_millis(1000),
        wall_ms: 1_764_000_000_000,
    };

    fn fleet(agents: usize) -> Snapshot {
        let mut fleet = Fleet::new(FleetSettings::default(), AT.now);
        fleet.handle(FleetInput::LinkUp, AT.now);
        for n in 0..agents {
            let json = format!(
                r#"{{"agentId":"a{n:03}","agentType":"say \"w\"","timestamp":5,"sequence":1,"status":"busy","currentTask":"t\n{n}","hb":{{"v":1,"intervalMs":30000,"epoch":7,"slot":1,"host":"h","pid":9,"activity":{{"verdict":"idle","since":3}},"runtime":{{"kind":"docker","id":"3f"}}}}}}"#
            );
            let beat = Box::new(Beat::decode(json.as_bytes()).unwrap());
            fleet.handle(FleetInput::Beat(beat), AT.now);
        }
        fleet.view()
    }

    /// The listing in pieces of this size.
    fn pieces(snapshot: &Snapshot, filter: &Filter, size: usize) -> Vec<Vec<u8>> {
        let mut listing = Listing::new(filter.clone());
        let mut pieces = Vec::new();
        loop {
            let mut piece = Vec::new();
            let goes_on = listing.write(snapshot, AT, size, &mut piece);
            pieces.push(piece);
            assert!(pieces.len() <= 1000, "the listing does not end");
            if !goes_on {
                return pieces;
            }
        }
    }

    #[test]
    fn an_agent_is_shown_with_every_field_of_the_api() {
        let snapshot = fleet(1);
        let (id, agent) = snapshot.agents.iter().next().unwrap();
        let mut json = Vec::new();
        HealthStatus::of(id, agent, AT).write(&mut json);
        let shown: Value = serde_json::from_slice(&json).unwrap();
        let expected = serde_json::json!({
            "agentId": "a000", "state": "healthy", "lastHeartbeat": 5, "missedBeats": 0, "uptimeSeconds": 0,
            "agentType": "say \"w\"", "status": "busy", "reason": null,
            "activity": {"verdict": "idle", "since": 3, "evidence": []},
            "sentence": "Its beats come in time, one every 30 s.",
            "next": "It counts as missing in 35 s unless a beat arrives.",
            "currentTask": "t\n0", "taskProgress": null,
            "metrics": {"cpuPercent": 0.0, "memoryMB": 0.0, "activeTasks": 0, "queueDepth": 0, "tokensUsedThisHour": 0, "errorsLast5Min": 0},
            "host": "h", "pid": 9, "epoch": 7, "restarts": 0, "since": 1_764_000_000_000_u64, "incident": null,
            "runtime": {"kind": "docker", "id": "3f"},
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_listing_in_pieces_is_the_listing_in_one() {
        let snapshot = fleet(100);
        let filter = Filter {
            limit: Some(70),
            ..Filter::default()
        };
        let whole = pieces(&snapshot, &filter, usize::MAX).concat();
        for size in [1, 1000, 4096] {
            let pieces = pieces(&snapshot, &filter, size);
            assert!(pieces.len() > 5, "{} pieces of {size}", pieces.len());
            assert_eq!(pieces.concat(), whole);
        }
        let page: Value = serde_json::from_slice(&whole).unwrap();
        let rows = page["agents"].as_array().unwrap();
        let ends = (rows.len(), &page["total"], &page["nextCursor"]);
        assert_eq!(ends, (70, &Value::from(100), &Value::from("a069")));
    }

    #[test]
    fn the_last_page_has_no_cursor_and_an_empty_one_is_a_listing() {
        let snapshot = fleet(3);
        let after = |id: &str| Filter {
            limit: Some(2),
            after: Some(id.parse().unwrap()),
            ..Filter::default()
        };
        for (filter, rows) in [(after("a000"), 2), (after("a002"), 0)] {
            let page = pieces(&snapshot, &filter, usize::MAX).concat();
            let page: Value = serde_json::from_slice(&page).unwrap();
            let listed = page["agents"].as_array().unwrap().len();
            assert_eq!((listed, page.get("nextCursor")), (rows, None));
        }
    }
}
