//! Which of several producers of an agent a beat comes from: the one that is followed, or a rival.
//!
//! Intuition: a producer counts its beats. A beat that does not continue the count belongs to a producer that started
//! again, to a second one that lives beside it, or it is a stray: late, replayed, damaged. Which one it is shows in what
//! follows. A stray stays alone; a restarted producer goes on counting while the other count stands still; of two that
//! live both counts go on.

use crate::base::moment::Moment;
use crate::fleet::last_beat::LastBeat;
use crate::wire::beat::view::BeatView;
use std::time::Duration;

/// A count that jumps further continues nothing: the largest number of beats between two that arrive.
const JUMP_MAX: u64 = 100_000;
/// Of a producer without `hb`: it sends one beat an interval, so that a jump means another count.
const JUMP_MAX_PLAIN: u64 = 20;
/// Beats at their own pace that a rival needs to take over from a silent producer.
const BEATS_TO_TAKE_OVER: u32 = 2;
/// The same of beats that by the sender's own clock are older than the last one: most likely they are replayed.
const BEATS_TO_TAKE_OVER_BACK: u32 = 4;
/// Beats at its own pace, and as many of the followed one meanwhile, that show two living producers.
const BEATS_TO_LIVE: u32 = 4;

/// What is known of the count that is followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed<'a> {
    /// Its last beat.
    pub(super) last: &'a LastBeat,
    /// When that was written, on our clock.
    pub(super) at: Moment,
    pub(super) interval: Duration,
}

/// Whose a beat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The next one of the producer that is followed.
    Followed,
    /// Of that producer, and not news.
    Past,
    /// Of a count that is not followed.
    Stray,
    /// The producer that is followed from now on: the other one is silent.
    Successor,
}

/// The count that is not followed.
#[derive(Clone, Debug, Default)]
pub(super) struct Producers {
    rival: Option<Box<Rival>>,
    /// The followed count was continued: more than one beat supports it.
    is_proven: bool,
    /// Numbers of the followed count that did not arrive yet, of the last 64: bit n is `last - 1 - n`.
    absent: u64,
}

#[derive(Clone, Debug)]
struct Rival {
    sequence: u64,
    instance: String,
    /// Its machine; empty of a producer that does not report it.
    host: String,
    /// When its last beat came that kept its pace.
    at: Moment,
    beats: u32,
    /// Beats of the followed producer since the rival was seen first.
    beside: u32,
}

impl Producers {
    /// Takes a beat that was written at `arrival`; `stored`: the hash holds it.
    pub(super) fn origin(
        &mut self,
        beat: &BeatView<'_>,
        followed: Followed<'_>,
        arrival: Moment,
        stored: bool,
    ) -> Origin {
        let last = followed.last;
        let same = instance(beat) == last.instance();
        if same && continues(beat, last.sequence) {
            self.count(beat.sequence - last.sequence);
            if let Some(rival) = &mut self.rival {
                rival.beside = rival.beside.saturating_add(1);
            }
            return Origin::Followed;
        }
        if same && self.is_past(beat, last) {
            return Origin::Past;
        }
        // Of one producer no two messages have one number: a wrong one had the place of this one.
        if same && beat.hb.is_some() && beat.sequence == last.sequence {
            return Origin::Followed;
        }
        if stored {
            // Written after the last beat of the other count, and it stands.
            let later = arrival > followed.at + followed.interval;
            return if later { self.succeed() } else { Origin::Past };
        }
        if beat.hb.is_none() {
            self.alternate(beat, last, arrival);
            return Origin::Stray;
        }
        // One beat alone is no better known than the next of the same producer: the later one counts.
        if same && !self.is_proven && !is_back(beat, last) {
            return self.succeed();
        }
        self.stray(beat, is_back(beat, last), followed, arrival)
    }

    /// Whether the producer of this beat, whose epoch is of the past or cannot be, is followed from now on. Beside a later epoch the
    /// store takes no beat of an earlier one, unless it lost the later one and its clock went back; behind its clock no epoch can
    /// be. Then this producer lives, and the other one is silent.
    pub(super) fn is_odd_epoch_alive(
        &mut self,
        beat: &BeatView<'_>,
        followed: Followed<'_>,
        arrival: Moment,
        stored: bool,
    ) -> bool {
        if !is_silent(followed.at, arrival, followed.interval) {
            return false;
        }
        // What a backup brought back, or a replay, is older by the sender's own clock.
        let is_back = beat.timestamp_ms <= followed.last.timestamp_ms;
        match stored {
            true => !is_back,
            false => self.stray(beat, is_back, followed, arrival) == Origin::Successor,
        }
    }

    /// A beat of a sidecar's shape that does not continue the followed count.
    fn stray(
        &mut self,
        beat: &BeatView<'_>,
        is_back: bool,
        followed: Followed<'_>,
        arrival: Moment,
    ) -> Origin {
        let beats_needed = if is_back {
            BEATS_TO_TAKE_OVER_BACK
        } else {
            BEATS_TO_TAKE_OVER
        };
        let beats = self.rival_beats(beat, is_back, followed.interval, arrival);
        if beats >= beats_needed && is_silent(followed.at, arrival, followed.interval) {
            self.succeed()
        } else {
            Origin::Stray
        }
    }

    /// Takes a beat of a producer that does not hold the id, and lives beside the one that is followed. It replaces that one only
    /// by a registration.
    pub(super) fn beside(&mut self, beat: &BeatView<'_>, interval: Duration, arrival: Moment) {
        self.rival_beats(beat, false, interval, arrival);
    }

    /// Counts a beat of a count that is not followed: how many came of it at their own pace, or none when it is another rival's.
    fn rival_beats(
        &mut self,
        beat: &BeatView<'_>,
        is_back: bool,
        interval: Duration,
        arrival: Moment,
    ) -> u32 {
        match &mut self.rival {
            // Of old beats each one is there: what is replayed has holes.
            Some(rival)
                if rival.is_continued_by(beat)
                    && (!is_back || beat.sequence == rival.sequence + 1) =>
            {
                rival.sequence = beat.sequence;
                if arrival.since(rival.at) >= interval / 2 {
                    rival.beats = rival.beats.saturating_add(1);
                    rival.at = arrival;
                }
                rival.beats
            }
            // A rival that lives is not replaced by a stray.
            Some(rival) if rival.beats > 1 && !is_silent(rival.at, arrival, interval) => 0,
            Some(_) | None => {
                self.rival = Some(Box::new(Rival::of(beat, arrival)));
                1
            }
        }
    }

    /// Of plain producers the one that sent the last beat is followed, so the rival is the one before it.
    fn alternate(&mut self, beat: &BeatView<'_>, last: &LastBeat, arrival: Moment) {
        match &mut self.rival {
            Some(rival) if rival.is_continued_by(beat) => {
                rival.sequence = last.sequence;
                rival.at = arrival;
                rival.beats = rival.beats.saturating_add(1);
                rival.beside = rival.beside.saturating_add(1);
            }
            Some(_) | None => {
                let rival = Rival::of(beat, arrival);
                self.rival = Some(Box::new(Rival {
                    sequence: last.sequence,
                    ..rival
                }));
            }
        }
    }

    /// Whether two producers live.
    pub(super) fn is_duplicate(&self) -> bool {
        let lives = |rival: &Rival| rival.beats.min(rival.beside) >= BEATS_TO_LIVE;
        self.rival.as_deref().is_some_and(lives)
    }

    /// When the rival last sent a beat, while there are two.
    pub(super) fn rival_at(&self) -> Option<Moment> {
        let rival = self.rival.as_deref().filter(|_| self.is_duplicate());
        rival.map(|rival| rival.at)
    }

    /// The machine of the rival, where it reports one.
    pub(super) fn rival_host(&self) -> Option<&str> {
        let host = self.rival.as_deref().map(|rival| rival.host.as_str());
        host.filter(|host| !host.is_empty())
    }

    /// The rival is silent: there is one producer.
    pub(super) fn forget_rival(&mut self) {
        self.rival = None;
    }

    fn succeed(&mut self) -> Origin {
        *self = Self::default();
        Origin::Successor
    }

    fn count(&mut self, step: u64) {
        self.is_proven = true;
        // The numbers between the last one and this one did not arrive.
        let shifted = u32::try_from(step)
            .ok()
            .and_then(|by| self.absent.checked_shl(by));
        let between = u32::try_from(step - 1)
            .ok()
            .and_then(|by| 1_u64.checked_shl(by));
        self.absent = shifted.unwrap_or(0) | between.map_or(u64::MAX, |bit| bit - 1);
    }

    /// The same message again, or one that a later one of its count has overtaken.
    fn is_past(&mut self, beat: &BeatView<'_>, last: &LastBeat) -> bool {
        if beat.sequence == last.sequence {
            return beat.timestamp_ms == last.timestamp_ms;
        }
        let Some(behind) = last.sequence.checked_sub(beat.sequence + 1) else {
            return false;
        };
        let bit = u32::try_from(behind)
            .ok()
            .and_then(|by| 1_u64.checked_shl(by));
        let bit = bit.filter(|bit| self.absent & bit != 0);
        self.absent &= !bit.unwrap_or(0);
        bit.is_some()
    }
}

impl Rival {
    fn of(beat: &BeatView<'_>, at: Moment) -> Self {
        Self {
            sequence: beat.sequence,
            instance: instance(beat).to_owned(),
            host: beat.hb.as_ref().map_or("", |hb| hb.host).to_owned(),
            at,
            beats: 1,
            beside: 0,
        }
    }

    fn is_continued_by(&self, beat: &BeatView<'_>) -> bool {
        self.instance == instance(beat) && continues(beat, self.sequence)
    }
}

fn continues(beat: &BeatView<'_>, sequence: u64) -> bool {
    let jump_max = match beat.hb {
        Some(_) => JUMP_MAX,
        None => JUMP_MAX_PLAIN,
    };
    beat.sequence > sequence && beat.sequence - sequence <= jump_max
}

fn instance<'a>(beat: &BeatView<'a>) -> &'a str {
    beat.hb.as_ref().map_or("", |hb| hb.instance)
}

/// Whether a beat is older than the last one by number and by the sender's own clock.
fn is_back(beat: &BeatView<'_>, last: &LastBeat) -> bool {
    let same = instance(beat) == last.instance();
    same && beat.sequence <= last.sequence && beat.timestamp_ms <= last.timestamp_ms
}

fn is_silent(last: Moment, now: Moment, interval: Duration) -> bool {
    now.since(last) > interval + interval / 2
}
