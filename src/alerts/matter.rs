//! What people may have to know of: an incident, a notice about an agent, or a trouble of hbmonitor itself.

use crate::base::id::AgentId;
use crate::wire::activity::{Evidence, Verdict};
use crate::wire::incident::{GateKind, Incident, IncidentId, Notified, Scope};
use crate::wire::life::Reason;
use crate::wire::notice::{Notice, NoticeKind};
use crate::wire::notification::{Mark, PageId, Severity, Subject};
use crate::wire::silence::{Labels, Silence};
use crate::wire::word;
use std::collections::BTreeMap;

/// Texts of one list that a message carries.
const LISTED_MAX: usize = 8;
/// The longest foreign text in a message, in characters.
const TEXT_MAX: usize = 400;

/// Where a cause lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// On a host: its agents fail together.
    Host(String),
    /// With one agent whose host is not known.
    Agent(AgentId),
    /// Everywhere.
    Fleet,
    /// With hbmonitor itself: the name of the trouble.
    Monitor(String),
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Matter {
    /// Its incident; unique also where there is none.
    pub id: IncidentId,
    /// Where it is.
    pub place: Place,
    /// What it is about.
    pub subject: Subject,
    /// Its agents.
    pub agents: Vec<AgentId>,
    /// Their types, where they are known.
    pub types: BTreeMap<AgentId, String>,
    /// Whether it is about one agent, a host or the fleet.
    pub scope: Scope,
    /// The host.
    pub host: Option<String>,
    /// The word of the API for the reason.
    pub reason: String,
    /// The shown word: `crash loop`.
    pub label: String,
    /// For people: what is the matter.
    pub sentence: String,
    /// What shows it, one line each.
    pub evidence: Vec<String>,
    /// Unix milliseconds.
    pub opened_at: u64,
    /// Unix milliseconds, once it is over.
    pub closed_at: Option<u64>,
    /// How urgent: of the policy.
    pub severity: Severity,
    /// What keeps the monitor from acting.
    pub gate: Option<GateKind>,
    /// What was tried, one line each.
    pub tried: Vec<String>,
    /// What brought it back.
    pub repaired_by: Option<String>,
    /// What happens without a person; empty: nothing.
    pub next: String,
    /// Who takes care of it.
    pub acked_by: Option<String>,
    /// The page that it belongs to already.
    pub page: Option<IncidentId>,
    /// The receivers that have been paged, and those that know that it is over.
    pub paged: Vec<String>,
    /// See `paged`.
    pub resolved: Vec<String>,
    /// When a receiver was last notified, Unix milliseconds.
    pub notified_at: Option<u64>,
    /// People are needed now: nothing else is going to be tried.
    pub needs_people: bool,
    /// The last beat, Unix milliseconds, where it is about one agent.
    pub last_heartbeat: Option<u64>,
}

/// What became of a notification, in an incident's `notified`.
pub mod outcome {
    /// A receiver was paged.
    pub const PAGED: &str = "paged";
    /// It got news of the page.
    pub const UPDATED: &str = "updated";
    /// It knows that it is over.
    pub const RESOLVED: &str = "resolved";
    /// It will never take it.
    pub const REFUSED: &str = "refused";
    /// It did not take it for a day.
    pub const EXPIRED: &str = "expired";
}

impl Matter {
    /// An incident. `needs_people`: no rung is coming, or none is left.
    pub fn of(incident: &Incident, severity: Severity, needs_people: bool) -> Self {
        let place = match (incident.scope, &incident.host, incident.agents.first()) {
            (Scope::Fleet, _, _) => Place::Fleet,
            (Scope::Agent | Scope::Host, Some(host), _) => Place::Host(host.clone()),
            (Scope::Agent | Scope::Host, None, Some(agent)) => Place::Agent(agent.clone()),
            (Scope::Agent | Scope::Host, None, None) => Place::Fleet,
        };
        let recovered =
            |rung: &&crate::wire::incident::Rung| rung.outcome.as_deref() == Some("recovered");
        // A rung that cannot act on this agent was not tried.
        let was_tried =
            |rung: &&crate::wire::incident::Rung| rung.outcome.as_deref() != Some("not_applicable");
        let climbed: Vec<_> = incident.rungs.iter().filter(was_tried).collect();
        Self {
            id: incident.id.clone(),
            place,
            subject: subject(incident.reason),
            agents: incident.agents.clone(),
            types: BTreeMap::new(),
            scope: incident.scope,
            host: incident.host.clone(),
            reason: word(&incident.reason),
            label: label(incident.reason, &incident.evidence),
            sentence: bounded(&incident.sentence),
            evidence: lines(&incident.evidence),
            opened_at: incident.opened_at,
            closed_at: incident.closed_at,
            severity,
            gate: incident.gate,
            tried: climbed[climbed.len().saturating_sub(LISTED_MAX)..]
                .iter()
                .map(|rung| tried(rung))
                .collect(),
            repaired_by: incident
                .rungs
                .iter()
                .rev()
                .find(recovered)
                .map(|rung| rung.rung.clone()),
            next: incident
                .next
                .as_ref()
                .map_or_else(String::new, |next| bounded(&next.what)),
            acked_by: incident.acked_by.clone(),
            page: incident.page.clone(),
            paged: receivers(&incident.notified, outcome::PAGED),
            resolved: receivers(&incident.notified, outcome::RESOLVED),
            notified_at: incident.notified.iter().map(|n| n.at).max(),
            needs_people,
            last_heartbeat: None,
        }
    }

    /// A notice about an agent of this type; `None` for a verdict that calls for none, as a newer version may know it.
    pub fn noticed(notice: &Notice, agent_type: Option<&str>) -> Option<Self> {
        let (subject, severity) = match notice.kind()? {
            NoticeKind::Suspicion => (Subject::Stalled, Severity::Warning),
            NoticeKind::Paused => (Subject::Paused, Severity::Warning),
            NoticeKind::Person => (Subject::WaitingForInput, Severity::Info),
        };
        let agent = notice.agent.clone();
        let place = match &notice.host {
            Some(host) => Place::Host(host.clone()),
            None => Place::Agent(agent.clone()),
        };
        let types = agent_type.map(|kind| (agent.clone(), kind.to_owned()));
        Some(Self {
            id: notice.id.clone(),
            place,
            agents: vec![agent],
            types: types.into_iter().collect(),
            scope: Scope::Agent,
            host: notice.host.clone(),
            reason: word(&notice.verdict),
            label: shown(notice.verdict).to_owned(),
            sentence: bounded(&notice.sentence),
            evidence: lines(&notice.evidence),
            closed_at: notice.closed_at,
            next: next(notice.verdict).to_owned(),
            acked_by: notice.acked_by.clone(),
            page: notice.page.clone(),
            paged: receivers(&notice.notified, outcome::PAGED),
            resolved: receivers(&notice.notified, outcome::RESOLVED),
            notified_at: notice.notified.iter().map(|n| n.at).max(),
            ..Self::empty(notice.id.clone(), subject, severity, notice.opened_at)
        })
    }

    /// A trouble of hbmonitor itself; `closed_at` ends it. The name is part of the page's id.
    pub fn trouble(name: &str, subject: Subject, severity: Severity, opened_at: u64) -> Self {
        let id = IncidentId::parse(&format!("hb-{name}"));
        let id = id.unwrap_or_else(|_| IncidentId::new(opened_at, 0));
        Self {
            place: Place::Monitor(name.to_owned()),
            reason: name.to_owned(),
            ..Self::empty(id, subject, severity, opened_at)
        }
    }

    fn empty(id: IncidentId, subject: Subject, severity: Severity, opened_at: u64) -> Self {
        Self {
            id,
            place: Place::Fleet,
            subject,
            agents: Vec::new(),
            types: BTreeMap::new(),
            scope: Scope::Fleet,
            host: None,
            reason: String::new(),
            label: String::new(),
            sentence: String::new(),
            evidence: Vec::new(),
            opened_at,
            closed_at: None,
            severity,
            gate: None,
            tried: Vec::new(),
            repaired_by: None,
            next: String::new(),
            acked_by: None,
            page: None,
            paged: Vec::new(),
            resolved: Vec::new(),
            notified_at: None,
            needs_people: true,
            last_heartbeat: None,
        }
    }

    /// Causes of one kind belong to one page: an agent in a crash loop crashed before.
    pub(super) fn cause(&self) -> (Place, Subject) {
        (self.place.clone(), kind(self.subject))
    }

    /// Whether a silence holds for each of its agents.
    pub(super) fn is_silenced(&self, silences: &[Silence], wall_ms: u64) -> bool {
        let covered = |agent: &str, kind: &str| {
            let labels = [
                ("agent", agent),
                ("type", kind),
                ("host", self.host.as_deref().unwrap_or("")),
                ("alertname", self.subject.alert_name()),
                ("reason", &*self.reason),
                ("severity", self.severity.as_str()),
            ];
            silences
                .iter()
                .any(|silence| silence.covers(Labels(&labels), wall_ms))
        };
        match &*self.agents {
            _ if silences.is_empty() => false,
            [] => covered("", ""),
            agents => agents.iter().all(|agent| {
                let kind = self.types.get(agent).map_or("", String::as_str);
                covered(agent.as_str(), kind)
            }),
        }
    }

    /// How it looks while it lasts.
    pub(super) fn mark(&self) -> Mark {
        match self.subject {
            Subject::HeartbeatMissed | Subject::Crash | Subject::CrashLoop | Subject::Hung => {
                Mark::Failed
            }
            Subject::WaitingForInput => Mark::Person,
            Subject::Duplicate
            | Subject::Stalled
            | Subject::Paused
            | Subject::StoreUnavailable
            | Subject::Monitor => Mark::Warning,
        }
    }

    /// The page that carries this matter's id.
    pub(super) fn own_page(&self) -> PageId {
        PageId::from(&self.id)
    }
}

/// The subject by which pages are grouped.
pub(super) fn kind(subject: Subject) -> Subject {
    match subject {
        Subject::CrashLoop => Subject::Crash,
        Subject::HeartbeatMissed
        | Subject::Crash
        | Subject::Hung
        | Subject::Duplicate
        | Subject::Stalled
        | Subject::WaitingForInput
        | Subject::Paused
        | Subject::StoreUnavailable
        | Subject::Monitor => subject,
    }
}

fn subject(reason: Reason) -> Subject {
    match reason {
        Reason::HeartbeatLost => Subject::HeartbeatMissed,
        Reason::Exited | Reason::Killed | Reason::OomKilled | Reason::Operator => Subject::Crash,
        Reason::CrashLoop => Subject::CrashLoop,
        Reason::Hung | Reason::Unkillable | Reason::Unknown => Subject::Hung,
        Reason::Duplicate | Reason::Fenced => Subject::Duplicate,
    }
}

fn label(reason: Reason, evidence: &[Evidence]) -> String {
    let value = |signal: &str| {
        let found = evidence.iter().find(|e| e.signal == signal);
        found.map(|e| bounded(&e.value))
    };
    let text = match reason {
        Reason::HeartbeatLost => "no heartbeat",
        Reason::Exited => {
            return value("exit.code").map_or_else(
                || "ended".to_owned(),
                |code| format!("exited with code {code}"),
            );
        }
        Reason::Killed => {
            return value("exit.signal")
                .map_or_else(|| "killed".to_owned(), |n| format!("killed by signal {n}"));
        }
        Reason::OomKilled => "killed for memory",
        Reason::Hung => "hung",
        Reason::CrashLoop => "crash loop",
        Reason::Duplicate => "two agents use this id",
        Reason::Fenced => "replaced by a newer run",
        Reason::Operator => "stopped by a person",
        Reason::Unkillable => "cannot be killed",
        Reason::Unknown => "failed",
    };
    text.to_owned()
}

/// The shown word of a verdict that a person should see.
fn shown(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Stalled => "stalled",
        Verdict::Spinning => "spinning",
        Verdict::Looping => "looping",
        Verdict::Hung => "hung",
        Verdict::WaitingInput => "waiting for you",
        Verdict::Paused => "paused",
        Verdict::Starting
        | Verdict::Working
        | Verdict::WaitingModel
        | Verdict::Sleeping
        | Verdict::Idle
        | Verdict::Unknown => "well",
    }
}

/// What happens without a person.
fn next(verdict: Verdict) -> &'static str {
    match NoticeKind::of(verdict) {
        Some(NoticeKind::Suspicion) => {
            "Nothing by itself. This is a suspicion, not a proof, so a person decides."
        }
        Some(NoticeKind::Person) => {
            "It waits as long as you like. hb never restarts an agent that waits for a person."
        }
        Some(NoticeKind::Paused) | None => "",
    }
}

/// The receivers of which a record says this.
fn receivers(notified: &[Notified], word: &str) -> Vec<String> {
    let with = notified.iter().filter(|one| one.outcome == word);
    with.map(|one| one.receiver.clone()).collect()
}

fn lines(evidence: &[Evidence]) -> Vec<String> {
    evidence.iter().take(LISTED_MAX).map(line).collect()
}

fn line(evidence: &Evidence) -> String {
    bounded(&format!(
        "{}: {} ({})",
        evidence.signal,
        evidence.value,
        word(&evidence.source)
    ))
}

fn tried(rung: &crate::wire::incident::Rung) -> String {
    let outcome = rung.outcome.as_deref().unwrap_or("under way");
    match &rung.detail {
        Some(detail) => bounded(&format!("{}: {outcome}, {detail}", rung.rung)),
        None => bounded(&format!("{}: {outcome}", rung.rung)),
    }
}

/// A text of bounded length on one line, without characters that would move or hide others.
pub(super) fn bounded(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(TEXT_MAX) {
        let hidden = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if c == '\n' || c == '\t' {
            out.push(' ');
        } else if hidden {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    if text.chars().nth(TEXT_MAX).is_some() {
        out.push('…');
    }
    out
}
