//! A beat as a monitor reads it: the texts stand in the payload, nothing is copied.

use crate::wire::beat::{
    Activity, Beat, BeatError, Exit, Extension, Metrics, OrderOutcome, Runtime, Status, Verdict,
};
use crate::wire::beat::{life_of, scan, within_bounds};
use crate::wire::life::Life;
use std::borrow::Cow;
use std::time::Duration;

/// One heartbeat. The fields are those of [`Beat`].
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "documented at Beat")]
pub struct BeatView<'a> {
    pub agent: &'a str,
    pub agent_type: &'a str,
    pub timestamp_ms: u64,
    pub sequence: u64,
    pub status: Status,
    pub metrics: Metrics,
    pub current_task: Option<&'a str>,
    pub task_progress: Option<f64>,
    pub hb: Option<ExtensionView<'a>>,
}

/// The object `hb`. The fields are those of [`Extension`].
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "documented at Extension")]
pub struct ExtensionView<'a> {
    pub interval: Duration,
    pub epoch: u64,
    pub slot: u64,
    pub slot_age: Duration,
    pub instance: &'a str,
    pub host: &'a str,
    pub pid: u32,
    pub started_at_ms: u64,
    pub restarts: u64,
    pub ready: bool,
    pub status_text: Option<&'a str>,
    pub activity: Option<ActivityView<'a>>,
    pub runtime: Option<RuntimeView<'a>>,
    pub exit: Option<Exit>,
    pub life: Option<Cow<'a, Life>>,
    pub order: Option<&'a OrderOutcome>,
    pub store_refuses: bool,
    pub fenced: bool,
}

/// What the agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivityView<'a> {
    /// One of the verdicts.
    pub verdict: Verdict,
    /// The whole [`Activity`] as this version encodes it.
    pub json: &'a str,
}

/// What the agent runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented at Runtime")]
pub struct RuntimeView<'a> {
    pub kind: &'a str,
    pub id: &'a str,
}

/// A decoded beat and the text of its activity: what a view of a beat borrows from that has no payload of the usual shape.
#[derive(Clone, Debug)]
pub struct Owned {
    beat: Box<Beat>,
    activity: String,
}

/// Reads a payload from the channel. A beat of any other shape than this version's own is decoded into `owned`.
///
/// # Errors
/// Those of [`Beat::decode`], for the same payloads.
pub fn read<'a>(
    payload: &'a [u8],
    owned: &'a mut Option<Owned>,
) -> Result<BeatView<'a>, BeatError> {
    within_bounds(payload)?;
    let text = std::str::from_utf8(payload).ok();
    if let Some(view) = text.and_then(scan::beat) {
        return Ok(view);
    }
    let decoded = Owned::from(Box::new(Beat::decode(payload)?));
    Ok(owned.insert(decoded).view())
}

impl From<Box<Beat>> for Owned {
    fn from(beat: Box<Beat>) -> Self {
        let activity = beat.hb.as_ref().and_then(|hb| hb.activity.as_ref());
        let json = |activity| serde_json::to_string(activity).unwrap_or_default();
        Self {
            activity: activity.map(json).unwrap_or_default(),
            beat,
        }
    }
}

impl BeatView<'_> {
    /// Whether its sidecar does not hold the id: the agent runs beside the holder's.
    pub fn is_fenced(&self) -> bool {
        self.hb.as_ref().is_some_and(|hb| hb.fenced)
    }

    /// The beat without the evidence and the sentence of its verdict, which are most of a large one.
    pub fn without_evidence(&self) -> Self {
        let mut beat = self.clone();
        let activity = beat.hb.as_mut().and_then(|hb| hb.activity.as_mut());
        if let Some(activity) = activity {
            activity.json = "null";
        }
        beat
    }
}

impl Owned {
    /// The agent that the beat is about.
    pub fn agent(&self) -> &crate::base::id::AgentId {
        &self.beat.agent
    }

    /// The beat as a value.
    pub fn into_beat(self) -> Box<Beat> {
        self.beat
    }

    /// The beat as a view.
    pub fn view(&self) -> BeatView<'_> {
        let beat = &self.beat;
        BeatView {
            agent: beat.agent.as_str(),
            agent_type: &beat.agent_type,
            timestamp_ms: beat.timestamp_ms,
            sequence: beat.sequence,
            status: beat.status,
            metrics: beat.metrics,
            current_task: beat.current_task.as_deref(),
            task_progress: beat.task_progress,
            hb: beat.hb.as_ref().map(|hb| self.extension(hb)),
        }
    }

    fn extension<'a>(&'a self, hb: &'a Extension) -> ExtensionView<'a> {
        ExtensionView {
            interval: hb.interval,
            epoch: hb.epoch,
            slot: hb.slot,
            slot_age: hb.slot_age,
            instance: &hb.instance,
            host: &hb.host,
            pid: hb.pid,
            started_at_ms: hb.started_at_ms,
            restarts: hb.restarts,
            ready: hb.ready,
            status_text: hb.status_text.as_deref(),
            activity: hb.activity.as_ref().map(|activity| ActivityView {
                verdict: activity.verdict,
                json: &self.activity,
            }),
            runtime: hb.runtime.as_ref().map(RuntimeView::from),
            exit: hb.exit,
            life: hb.life.as_ref().map(Cow::Borrowed),
            order: hb.order.as_ref(),
            store_refuses: hb.store_refuses,
            fenced: hb.fenced,
        }
    }
}

impl BeatView<'_> {
    /// Where the agent's process is: see [`Beat::life`].
    pub fn life(&self) -> Cow<'_, Life> {
        match &self.hb {
            Some(hb) => match &hb.life {
                Some(life) => Cow::Borrowed(life.as_ref()),
                None => Cow::Owned(life_of(self.status, Some((hb.pid, hb.restarts, hb.exit)))),
            },
            None => Cow::Owned(life_of(self.status, None)),
        }
    }

    /// The registration this beat belongs to; 0 for a producer without epochs.
    pub fn epoch(&self) -> u64 {
        self.hb.as_ref().map_or(0, |hb| hb.epoch)
    }

    /// A copy that needs no payload. `None` cannot be: the id and the activity were checked when the view was made.
    pub fn to_owned(&self) -> Option<Owned> {
        let beat = Beat {
            agent: self.agent.parse().ok()?,
            agent_type: self.agent_type.to_owned(),
            timestamp_ms: self.timestamp_ms,
            sequence: self.sequence,
            status: self.status,
            metrics: self.metrics,
            current_task: self.current_task.map(str::to_owned),
            task_progress: self.task_progress,
            hb: self.hb.as_ref().map(ExtensionView::to_owned),
        };
        Some(Owned::from(Box::new(beat)))
    }
}

impl ExtensionView<'_> {
    fn to_owned(&self) -> Extension {
        Extension {
            interval: self.interval,
            epoch: self.epoch,
            slot: self.slot,
            slot_age: self.slot_age,
            instance: self.instance.to_owned(),
            host: self.host.to_owned(),
            pid: self.pid,
            started_at_ms: self.started_at_ms,
            restarts: self.restarts,
            ready: self.ready,
            status_text: self.status_text.map(str::to_owned),
            activity: self.activity.and_then(|a| a.decode()),
            runtime: self.runtime.map(|runtime| runtime.to_owned()),
            exit: self.exit,
            life: self.life.as_deref().cloned(),
            order: self.order.cloned(),
            store_refuses: self.store_refuses,
            fenced: self.fenced,
        }
    }
}

impl ActivityView<'_> {
    /// The activity as a value.
    pub fn decode(&self) -> Option<Activity> {
        serde_json::from_str(self.json).ok()
    }
}

impl<'a> From<&'a Runtime> for RuntimeView<'a> {
    fn from(runtime: &'a Runtime) -> Self {
        Self {
            kind: &runtime.kind,
            id: &runtime.id,
        }
    }
}

impl RuntimeView<'_> {
    /// A copy.
    pub fn to_owned(&self) -> Runtime {
        Runtime {
            kind: self.kind.to_owned(),
            id: self.id.to_owned(),
        }
    }
}
