//! What a person can do on the whole screen: the question that comes first, and why something is impossible.

use crate::cli::agents::Shown;
use heartbeat::fleet::word::Word;

/// What a person wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Acknowledge,
    Restart,
    Silence,
    Recover,
    Stop,
    /// Of the whole fleet, as the next one.
    Pause,
    Resume,
}

impl Act {
    /// The word of the command and of the path.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Acknowledge => "ack",
            Self::Restart => "restart",
            Self::Silence => "silence",
            Self::Recover => "recover",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }

    /// Whether it is about the whole fleet.
    pub(super) const fn is_of_fleet(self) -> bool {
        match self {
            Self::Pause | Self::Resume => true,
            Self::Acknowledge | Self::Restart | Self::Silence | Self::Recover | Self::Stop => false,
        }
    }

    /// What is asked first; none of what loses nothing.
    pub(super) fn question(self, agent: Option<&Shown>) -> Option<String> {
        let id = agent.map_or("", |agent| &agent.id);
        let loses = agent.map_or_else(String::new, open_task);
        match self {
            Self::Acknowledge => None,
            Self::Restart => Some(format!("Restart {id}?{loses}")),
            Self::Silence => Some(format!("Silence {id} for 1 h?")),
            Self::Recover => Some(format!("Climb the next rung for {id}?{loses}")),
            Self::Stop => Some(format!("Stop {id} for good?{loses}")),
            Self::Pause => Some("Pause recovery for the whole fleet for 1 h?".to_owned()),
            Self::Resume => Some("Resume recovery for the whole fleet?".to_owned()),
        }
    }

    /// Why it is impossible, as far as that can be seen from here.
    pub(super) fn impossible(self, agent: Option<&Shown>) -> Option<&'static str> {
        if self.is_of_fleet() {
            return None;
        }
        let Some(agent) = agent else {
            return Some("no agent is chosen");
        };
        let has_incident = agent.json["incident"].is_string();
        let needs_attention = agent.json["attention"].is_string();
        match self {
            Self::Acknowledge if !has_incident && !needs_attention => {
                Some("it has no open incident or notice")
            }
            Self::Recover if !has_incident => Some("it has no open incident"),
            Self::Restart | Self::Stop if agent.word == Word::Stopped => {
                Some("it is stopped; start it where it ran")
            }
            Self::Acknowledge
            | Self::Restart
            | Self::Silence
            | Self::Recover
            | Self::Stop
            | Self::Pause
            | Self::Resume => None,
        }
    }

    /// What became of it, for people.
    pub(super) fn done(self, id: &str) -> String {
        match self {
            Self::Acknowledge => format!("{id} is acknowledged: quiet until it is over."),
            Self::Restart => format!("{id}: ordered, its sidecar ends it and starts it again."),
            Self::Silence => format!("{id} is silenced for 1 h."),
            Self::Recover => format!("{id}: the next rung is climbed."),
            Self::Stop => format!("{id}: ordered, its sidecar ends it."),
            Self::Pause => "Recovery is paused for 1 h. Detection and pages go on.".to_owned(),
            Self::Resume => "Recovery goes on.".to_owned(),
        }
    }
}

/// What is lost with the process.
fn open_task(agent: &Shown) -> String {
    let done = agent.json["taskProgress"].as_f64();
    match (agent.text("currentTask"), done) {
        (Some(_), Some(done)) => format!(" Its task is at {done:.0} %."),
        (Some(task), None) => format!(" It has \"{task}\" open."),
        (None, _) => String::new(),
    }
}
