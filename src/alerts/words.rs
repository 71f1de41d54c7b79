//! What a page says: titles and the lines below them, for people at every receiver.

use crate::alerts::flaps::OPENINGS;
use crate::alerts::matter::{Matter, Place, bounded};
use crate::alerts::page::Page;
use crate::base::duration::format_duration;
use crate::base::id::AgentId;
use crate::wire::incident::GateKind;
use crate::wire::notification::{INCIDENTS_MAX, Mark, Message, NAMED_MAX, Occasion, Subject};
use std::collections::BTreeSet;
use std::time::Duration;

impl Page {
    /// What its receivers are sent on this occasion.
    pub(super) fn message(&self, occasion: Occasion, wall_ms: u64) -> Option<Message> {
        let over = matches!(occasion, Occasion::Resolved | Occasion::Repaired);
        let shown: Vec<&Matter> = match over {
            true => self.members.values().map(|member| &member.matter).collect(),
            false => self.open().map(|member| &member.matter).collect(),
        };
        let first = *shown.first()?;
        let since = shown.iter().map(|matter| matter.opened_at).min()?;
        let until = over.then(|| {
            let closed = shown.iter().filter_map(|matter| matter.closed_at).max();
            closed.unwrap_or(wall_ms)
        });
        let lasted = lasted(since, until.unwrap_or(wall_ms));
        let agents: Vec<&AgentId> = shown.iter().flat_map(|matter| &matter.agents).collect();
        let seen = Seen {
            first,
            agents: &agents,
            lasted: &lasted,
        };
        let title = self.headline(occasion, &seen);
        Some(Message {
            occasion,
            page: self.id.clone(),
            severity: self.severity(),
            subject: first.subject,
            mark: mark(occasion, first),
            title,
            what: what(&seen),
            since,
            until,
            evidence: first.evidence.clone(),
            tried: first.tried.clone(),
            next: match (over, first.next.is_empty()) {
                (true, _) => String::new(),
                (false, true) => "Nothing by itself.".to_owned(),
                (false, false) => first.next.clone(),
            },
            agents: agents
                .iter()
                .take(NAMED_MAX)
                .map(|&agent| agent.clone())
                .collect(),
            agents_total: agents.len(),
            host: first.host.clone(),
            reason: first.reason.clone(),
            last_heartbeat: first.last_heartbeat.filter(|_| agents.len() == 1),
            incidents: shown
                .iter()
                .take(INCIDENTS_MAX)
                .map(|matter| matter.id.clone())
                .collect(),
        })
    }

    fn headline(&self, occasion: Occasion, seen: &Seen<'_>) -> String {
        match occasion {
            Occasion::Firing | Occasion::Notice | Occasion::Test => self.title(seen),
            Occasion::Updated => format!("{}, for {}", self.title(seen), seen.lasted),
            Occasion::Acknowledged => {
                let by = self.acker().unwrap_or("a person");
                format!(
                    "{}: acknowledged by {}, quiet until it is over",
                    self.who(seen),
                    bounded(by)
                )
            }
            Occasion::Resolved => self.resolved(seen),
            Occasion::Repaired => {
                let by = seen.first.repaired_by.as_deref().unwrap_or("hb");
                let label = &seen.first.label;
                format!(
                    "{}: {label}, healthy again after {} (by {by})",
                    self.who(seen),
                    seen.lasted
                )
            }
        }
    }

    fn who(&self, seen: &Seen<'_>) -> String {
        match (&self.place, seen.agents) {
            (Place::Monitor(_), _) => "hb".to_owned(),
            (_, [agent]) => agent.to_string(),
            (Place::Host(host), _) => bounded(host),
            (Place::Agent(agent), _) => agent.to_string(),
            (Place::Fleet, _) => "fleet".to_owned(),
        }
    }

    fn title(&self, seen: &Seen<'_>) -> String {
        if self.subject.is_notice() {
            return self.notice_title(seen);
        }
        let (who, label) = (self.who(seen), &seen.first.label);
        let done = done(seen.first);
        let count = seen.agents.len();
        let openings = self.openings.filter(|openings| *openings >= OPENINGS);
        let lead = match (&self.place, self.subject) {
            (Place::Monitor(_), _) => format!("hb: {label}"),
            (_, _) if count == 1 => format!("{who}: {label}"),
            (Place::Fleet, Subject::HeartbeatMissed) => format!("fleet: {count} agents are silent"),
            (_, Subject::HeartbeatMissed) => format!("{who}: silent with {count} agents"),
            (Place::Fleet, Subject::Crash) => format!("fleet: {count} agents crashed"),
            (Place::Fleet, _) => format!("fleet: {count} agents, {label}"),
            (_, _) => {
                let first = seen
                    .agents
                    .first()
                    .map_or_else(String::new, ToString::to_string);
                return format!("{count} agents failed on {who} (first: {first}, {label})");
            }
        };
        match openings {
            Some(openings) => format!(
                "{lead}, {openings} times within 1 h (it flaps: further ones are not reported unless it stays so)"
            ),
            None => format!("{lead} ({done})"),
        }
    }

    /// A notice ends its title with what hb does, or where a person must go.
    fn notice_title(&self, seen: &Seen<'_>) -> String {
        let (who, label) = (self.who(seen), &seen.first.label);
        let lead = match (&self.place, seen.agents) {
            (_, [_] | []) => format!("{who}: {label}"),
            (Place::Fleet, all) => format!("fleet: {} agents are {label}", all.len()),
            (_, [first, ..]) => format!(
                "{who}: {} agents are {label} (first: {first})",
                seen.agents.len()
            ),
        };
        let openings = self.openings.filter(|openings| *openings >= OPENINGS);
        match (openings, self.subject, &seen.first.host) {
            (Some(openings), ..) => format!("{lead}, {openings} times within 1 h"),
            (None, Subject::WaitingForInput, Some(host)) if seen.agents.len() == 1 => {
                format!("{lead} (on {})", bounded(host))
            }
            (None, Subject::WaitingForInput, _) => lead,
            (None, ..) => format!("{lead} (no automatic action)"),
        }
    }

    fn resolved(&self, seen: &Seen<'_>) -> String {
        let (who, lasted) = (self.who(seen), seen.lasted);
        if self.subject.is_notice() {
            return format!("{who}: no longer {}, after {lasted}", seen.first.label);
        }
        if let Place::Monitor(_) = self.place {
            return format!("hb: {} after {lasted}", seen.first.label);
        }
        let up: BTreeSet<&AgentId> = self
            .members
            .values()
            .flat_map(|member| &member.up)
            .collect();
        let by = seen.first.repaired_by.as_deref();
        let by = by.map_or_else(String::new, |by| format!(" (by {by})"));
        let healthy = seen.agents.iter().all(|agent| up.contains(agent)) && !up.is_empty();
        match (healthy, seen.agents.len()) {
            (true, 1) => format!("{who}: healthy again after {lasted}{by}"),
            (true, count) => {
                format!("{who}: all {count} agents are healthy again after {lasted}{by}")
            }
            (false, 1) => {
                format!("{who}: over after {lasted}: it recovered, stopped or left the fleet")
            }
            (false, count) => format!(
                "{who}: over after {lasted}: {count} agents recovered, stopped or left the fleet"
            ),
        }
    }
}

fn mark(occasion: Occasion, first: &Matter) -> Mark {
    match occasion {
        Occasion::Firing | Occasion::Updated | Occasion::Notice => first.mark(),
        Occasion::Resolved => Mark::Healthy,
        Occasion::Repaired => Mark::Repaired,
        Occasion::Acknowledged | Occasion::Test => Mark::Plain,
    }
}

/// What a page shows of its members.
struct Seen<'a> {
    first: &'a Matter,
    agents: &'a [&'a AgentId],
    lasted: &'a str,
}

fn what(seen: &Seen<'_>) -> String {
    let count = seen.agents.len();
    if count <= 1 {
        return seen.first.sentence.clone();
    }
    let named: Vec<String> = seen
        .agents
        .iter()
        .take(3)
        .map(ToString::to_string)
        .collect();
    let more = match count - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}. {}", named.join(", "), seen.first.sentence)
}

fn done(matter: &Matter) -> String {
    match matter.gate {
        Some(GateKind::Storm) => return "STORM: no automatic action".to_owned(),
        Some(GateKind::MassCrash) => return "MASS CRASH: restarts are held".to_owned(),
        Some(
            GateKind::Tilt
            | GateKind::Blind
            | GateKind::Silenced
            | GateKind::Paused
            | GateKind::Unknown,
        )
        | None => {}
    }
    if matter.tried.is_empty() {
        return "no automatic action".to_owned();
    }
    let rungs: Vec<&str> = matter
        .tried
        .iter()
        .filter_map(|tried| tried.split(':').next())
        .collect();
    format!("{} did not help", rungs.join(", "))
}

fn lasted(since: u64, until: u64) -> String {
    format_duration(Duration::from_millis(until.saturating_sub(since)))
}
