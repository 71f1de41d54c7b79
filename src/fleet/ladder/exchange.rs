//! The ladder's inputs, effects and the facts that it asks for.

use crate::base::duration::format_duration;
use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::fleet::ladder::policy::Policy;
use crate::fleet::ladder::rung::Rung;
use crate::wire::life::Reason;
use std::fmt;
use std::time::Duration;

/// What the fleet knows of an agent at this moment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its registration.
    pub epoch: u64,
    /// Its last incarnation.
    pub incarnation: u64,
    /// Its host; agents of one host are acted upon one after the other.
    pub host: String,
    /// What it runs in.
    pub runtime: RuntimeKind,
    /// Why it is not healthy; none while it is.
    pub reason: Option<Reason>,
    /// Its sidecar's beats come in time.
    pub sidecar_answers: bool,
    /// Its sidecar is about to restart or stop it by itself.
    pub sidecar_acts: bool,
    /// Its process is known to have ended.
    pub proof_of_death: bool,
    /// It ends by itself when its sidecar cannot reach the store.
    pub exclusive: bool,
    /// Its user wants to be alerted when it hangs, and no restart.
    pub alert_only: bool,
    /// Its pod restarts all containers when its sidecar ends for that.
    pub pod_restart: bool,
    /// Since anything was last written about it, as the store knows it.
    pub silent: Duration,
    /// Its interval.
    pub interval: Duration,
    /// Why nothing may be done by itself.
    pub gate: Option<&'static str>,
    /// Agents of the fleet that are alive.
    pub fleet_alive: usize,
}

/// What an agent runs in, as its beats report it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuntimeKind {
    /// A Docker container.
    Docker,
    /// A Podman container: the same API.
    Podman,
    /// A pod.
    Kubernetes,
    /// A systemd unit.
    Systemd,
    /// A plain process.
    Host,
    /// Not reported.
    #[default]
    Unknown,
}

impl RuntimeKind {
    /// The kind of this word on the wire.
    pub fn parse(word: &str) -> Self {
        match word {
            "docker" => Self::Docker,
            "podman" => Self::Podman,
            "kubernetes" => Self::Kubernetes,
            "systemd" => Self::Systemd,
            "host" => Self::Host,
            _ => Self::Unknown,
        }
    }
}

/// One climb of one rung.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// The agent that it is for.
    pub agent: AgentId,
    /// The registration it acts upon.
    pub epoch: u64,
    /// The incarnation it acts upon.
    pub incarnation: u64,
    /// What is done.
    pub rung: Rung,
}

/// An input of the ladder.
#[derive(Clone, Debug)]
pub enum LadderInput {
    /// An incident of this agent is open. Restored incidents bring the rungs that were climbed before, the last of them
    /// perhaps without an outcome.
    Opened {
        /// The agent that it is about.
        agent: AgentId,
        /// What is allowed.
        policy: Box<Policy>,
        /// What was climbed before, in order.
        climbed: Vec<Climbed>,
    },
    /// The incident is over.
    Closed(AgentId),
    /// What became of [`LadderEffect::Claim`].
    Claimed(Ticket, Claim),
    /// What became of [`LadderEffect::Perform`].
    Performed(Ticket, Performed),
    /// A fresh beat came from another incarnation than the one that failed, or from the one that was repaired.
    Beat(AgentId),
    /// It failed again before its incident was over.
    FailedAgain(AgentId),
    /// The agent proved that it works: its budget is full again.
    Progressed(AgentId),
    /// A person wants a rung climbed, or the next one: gates and budgets do not hold it back.
    ByHand(AgentId, Option<Rung>),
    /// This rung was climbed for the agent at that moment, before this monitor started: it counts in the budget.
    Spent(AgentId, Rung, Moment),
    /// Time passed.
    Tick,
}

/// A rung that was climbed before, as the incident has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Climbed {
    /// Which.
    pub ticket: Ticket,
    /// Its outcome is known.
    pub settled: bool,
    /// It was carried out, perhaps, and no beat came.
    pub unseen: bool,
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The intent is written: climb.
    Granted,
    /// It had been written before: this rung was climbed, or is being climbed.
    Taken,
    /// The store did not answer, or this monitor may not act.
    Refused,
}

/// What became of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Performed {
    /// It was carried out; whether it helped is seen in the beats.
    Done(String),
    /// This rung cannot act on this agent; nothing was changed.
    NotApplicable(String),
    /// The same, for what it would restart was removed, and the agent with it: proof that no process of it is left.
    Gone(String),
    /// It failed.
    Failed(String),
    /// It was refused for now: try again after this time.
    Later(String, Duration),
}

/// For the log.
impl fmt::Display for Performed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(detail) => f.write_str(detail),
            Self::NotApplicable(why) | Self::Gone(why) => write!(f, "cannot act on it: {why}"),
            Self::Failed(why) => write!(f, "failed: {why}"),
            Self::Later(why, after) => {
                write!(
                    f,
                    "refused for now, again in {}: {why}",
                    format_duration(*after)
                )
            }
        }
    }
}

/// How a rung ended, as the incident shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RungOutcome {
    /// A new incarnation beats.
    Recovered,
    /// The action failed.
    Failed,
    /// This rung cannot act on this agent.
    NotApplicable,
    /// The action was carried out, and no new incarnation came within the time.
    NoBeat,
    /// A monitor ended between the claim and the outcome: whether the action was carried out is unknown.
    Unknown,
}

impl RungOutcome {
    /// The word in incidents and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Failed => "failed",
            Self::NotApplicable => "not_applicable",
            Self::NoBeat => "no_beat",
            Self::Unknown => "unknown",
        }
    }
}

/// What the caller must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LadderEffect {
    /// Write the intent if it is not there, then send [`LadderInput::Claimed`].
    Claim(Ticket),
    /// The rung begins: write it into the incident and the incident into the store, before it is performed.
    Began(Ticket),
    /// Act, for 60 s at most, then send [`LadderInput::Performed`].
    Perform(Ticket),
    /// The rung has ended.
    Ended(Ticket, RungOutcome, String),
    /// Remove the intents of this incident: its rungs may be climbed in the next one.
    Release(Vec<Ticket>),
    /// What comes next, for people and the page: the incident's `next`.
    Next(AgentId, Next),
    /// No rung is left, or none is allowed: people must act.
    Page(AgentId, String),
}

/// What would become of one rung, for a person who asks before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Which.
    pub rung: Rung,
    /// `now`, `then` or `never`.
    pub when: &'static str,
    /// For people.
    pub detail: String,
}

/// What happens without a person, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// What.
    pub what: String,
    /// When; none where it depends on something else.
    pub at: Option<Moment>,
    /// hb does it by itself: no person is needed until then.
    pub by_itself: bool,
}

impl Next {
    /// What hb does without a person.
    pub fn by_itself(what: String, at: Option<Moment>) -> Self {
        Self {
            what,
            at,
            by_itself: true,
        }
    }

    /// For people, as it is at `now`.
    pub fn sentence(&self, now: Moment) -> String {
        let mut letters = self.what.chars();
        let first = letters.next().map(|first| first.to_uppercase().to_string());
        let what = first.unwrap_or_default() + letters.as_str();
        match self
            .at
            .map(|at| at.since(now))
            .filter(|wait| !wait.is_zero())
        {
            Some(wait) => format!("{what} (in {}).", format_duration(wait)),
            None => format!("{what}."),
        }
    }
}
