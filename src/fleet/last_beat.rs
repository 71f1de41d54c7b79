//! The last beat of a run, as it is kept: figures by value, all texts in one allocation, the activity packed.
//!
//! A beat that brings the same texts writes none; one with other evidence writes from the first text that differs.

use crate::fleet::packed::{Packed, pack};
use crate::wire::beat::view::{BeatView, ExtensionView, RuntimeView};
use crate::wire::beat::{Activity, Metrics, Status, Verdict};
use std::borrow::Cow;

/// The texts of a beat, those that seldom change first.
#[derive(Clone, Copy, Debug)]
enum Text {
    AgentType,
    Host,
    Instance,
    RuntimeKind,
    RuntimeId,
    CurrentTask,
    Status,
    Activity,
}

/// How many texts there are.
const TEXTS: usize = 8;
/// Room that an allocation has beyond its texts: evidence changes by some characters from beat to beat.
const ROOM: usize = 16;

/// The last beat of a run.
#[derive(Clone, Debug)]
pub struct LastBeat {
    /// The sender's wall clock in Unix milliseconds: shown, compared only with itself.
    pub timestamp_ms: u64,
    /// Counts what this sender emitted.
    pub sequence: u64,
    /// What the agent's load looks like from inside.
    pub status: Status,
    /// Figures of the whole process tree.
    pub metrics: Metrics,
    /// The progress that the agent reported, 0 to 100.
    pub task_progress: Option<f64>,
    /// What only hb's own sidecar reports.
    pub hb: Option<LastExtension>,
    texts: Texts,
}

/// The figures of the object `hb`.
#[derive(Clone, Copy, Debug)]
pub struct LastExtension {
    /// The agent's process; 0 for none.
    pub pid: u32,
    /// When this incarnation started, Unix milliseconds of the sender.
    pub started_at_ms: u64,
    /// Incarnations before this one inside the epoch.
    pub restarts: u64,
    /// The verdict on what it is doing, if there is one.
    pub verdict: Option<Verdict>,
    /// The store refuses what its sidecar writes.
    pub store_refuses: bool,
    has_runtime: bool,
}

/// Texts, one behind the other.
#[derive(Clone, Debug, Default)]
struct Texts {
    all: String,
    /// Where each ends.
    ends: [u16; TEXTS],
}

impl LastBeat {
    /// Keeps a beat.
    pub fn new(beat: &BeatView<'_>) -> Self {
        let mut kept = Self {
            timestamp_ms: 0,
            sequence: 0,
            status: beat.status,
            metrics: beat.metrics,
            task_progress: None,
            hb: None,
            texts: Texts::default(),
        };
        kept.replace(beat);
        kept
    }

    /// Keeps another beat in its place.
    pub fn replace(&mut self, beat: &BeatView<'_>) {
        self.timestamp_ms = beat.timestamp_ms;
        self.sequence = beat.sequence;
        self.status = beat.status;
        self.metrics = beat.metrics;
        self.task_progress = beat.task_progress;
        self.hb = beat.hb.as_ref().map(LastExtension::of);
        let activity = beat.hb.as_ref().and_then(|hb| hb.activity);
        let activity = activity.map_or_else(String::new, |activity| pack(activity.json));
        self.texts.replace(texts_of(beat, &activity));
    }

    /// Whether a process was there, as far as the sender can say.
    pub fn has_process(&self) -> bool {
        self.hb.is_none_or(|hb| hb.pid != 0)
    }

    /// Memory of its texts, in bytes.
    pub fn weight(&self) -> usize {
        self.texts.all.capacity()
    }

    /// What sort of agent it is.
    pub fn agent_type(&self) -> &str {
        self.texts.get(Text::AgentType)
    }

    /// The machine; none of a producer that does not report it.
    pub fn host(&self) -> Option<&str> {
        self.hb.map(|_| self.texts.get(Text::Host))
    }

    /// The sidecar process that sent it; empty of a producer that does not report it.
    pub fn instance(&self) -> &str {
        self.texts.get(Text::Instance)
    }

    /// The task that the agent reported.
    pub fn current_task(&self) -> Option<&str> {
        self.texts.filled(Text::CurrentTask)
    }

    /// `STATUS=` of sd_notify.
    pub fn status_text(&self) -> Option<&str> {
        self.texts.filled(Text::Status)
    }

    /// What it runs in.
    pub fn runtime(&self) -> Option<RuntimeView<'_>> {
        let hb = self.hb?;
        hb.has_runtime.then(|| RuntimeView {
            kind: self.texts.get(Text::RuntimeKind),
            id: self.texts.get(Text::RuntimeId),
        })
    }

    /// What the agent is doing, as it is kept.
    pub fn packed_activity(&self) -> Option<Packed<'_>> {
        let verdict = self.hb?.verdict?;
        Some(Packed::new(verdict, self.texts.get(Text::Activity)))
    }

    /// What the agent is doing.
    pub fn activity(&self) -> Option<Activity> {
        self.packed_activity()?.decode()
    }

    /// Since when the verdict holds, Unix milliseconds of the sender.
    pub fn activity_since(&self) -> Option<u64> {
        self.packed_activity()?.since()
    }

    /// The sentence of the verdict, if it has one.
    pub fn sentence(&self) -> Option<Cow<'_, str>> {
        self.packed_activity()?.sentence()
    }
}

impl LastExtension {
    fn of(hb: &ExtensionView<'_>) -> Self {
        Self {
            pid: hb.pid,
            started_at_ms: hb.started_at_ms,
            restarts: hb.restarts,
            verdict: hb.activity.map(|activity| activity.verdict),
            store_refuses: hb.store_refuses,
            has_runtime: hb.runtime.is_some(),
        }
    }
}

/// In the order of [`Text`].
fn texts_of<'a>(beat: &BeatView<'a>, activity: &'a str) -> [&'a str; TEXTS] {
    let hb = beat.hb.as_ref();
    let runtime = hb.and_then(|hb| hb.runtime);
    [
        beat.agent_type,
        hb.map_or("", |hb| hb.host),
        hb.map_or("", |hb| hb.instance),
        runtime.map_or("", |runtime| runtime.kind),
        runtime.map_or("", |runtime| runtime.id),
        beat.current_task.unwrap_or(""),
        hb.and_then(|hb| hb.status_text).unwrap_or(""),
        activity,
    ]
}

impl Texts {
    fn get(&self, which: Text) -> &str {
        let which = which as usize;
        let start = which.checked_sub(1).map_or(0, |before| self.ends[before]);
        let range = usize::from(start)..usize::from(self.ends[which]);
        self.all.get(range).unwrap_or("")
    }

    fn filled(&self, which: Text) -> Option<&str> {
        Some(self.get(which)).filter(|text| !text.is_empty())
    }

    fn replace(&mut self, texts: [&str; TEXTS]) {
        let mut at = 0;
        let differs = |(place, text): (usize, &&str)| {
            let end = usize::from(self.ends[place]);
            let same = self.all.as_bytes().get(at..end) == Some(text.as_bytes());
            at = end;
            !same
        };
        let Some(first) = texts.iter().enumerate().position(differs) else {
            return;
        };
        let start = first.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.all.truncate(usize::from(start));
        let more: usize = texts[first..].iter().map(|text| text.len()).sum();
        if self.all.capacity() < self.all.len() + more {
            self.all.reserve_exact(more + ROOM);
        }
        for (end, text) in self.ends[first..].iter_mut().zip(&texts[first..]) {
            self.all.push_str(text);
            // A beat is not larger than BEAT_BYTES_MAX.
            *end = u16::try_from(self.all.len()).unwrap_or(u16::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::beat::view;

    fn texts(kept: &LastBeat) -> [Option<String>; 4] {
        let runtime = kept.runtime().map(|runtime| runtime.id);
        let activity = kept.packed_activity().map(|activity| activity.json());
        let texts = [kept.host(), kept.current_task(), runtime];
        let [host, task, runtime] = texts.map(|text| text.map(str::to_owned));
        [host, task, runtime, activity]
    }

    #[test]
    fn every_text_is_that_of_the_last_beat_whichever_of_them_changed() {
        let beats = [
            r#""hb":{"v":1,"intervalMs":1000,"epoch":1,"slot":1,"host":"h1","runtime":{"kind":"docker","id":"3f"}}"#,
            r#""currentTask":"a longer task","hb":{"v":1,"intervalMs":1000,"epoch":1,"slot":1,"host":"h2","activity":{"verdict":"idle","since":1,"evidence":[]}}"#,
            r#""currentTask":"short","hb":{"v":1,"intervalMs":1000,"epoch":1,"slot":1,"host":"h2","activity":{"verdict":"idle","since":12,"evidence":[]}}"#,
            r#""currentTask":"""#,
        ];
        let mut kept: Option<LastBeat> = None;
        for (n, rest) in beats.iter().cycle().take(9).enumerate() {
            let json = format!(
                r#"{{"agentId":"a","timestamp":1,"sequence":{n},"status":"healthy",{rest}}}"#
            );
            let mut owned = None;
            let beat = view::read(json.as_bytes(), &mut owned).unwrap();
            let kept = match &mut kept {
                Some(kept) => {
                    kept.replace(&beat);
                    kept
                }
                None => kept.insert(LastBeat::new(&beat)),
            };
            assert_eq!(texts(kept), texts(&LastBeat::new(&beat)), "after beat {n}");
        }
    }
}
