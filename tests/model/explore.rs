//! Every state that a script can reach, and from which of them the root's main thread can run again.

use crate::observe::sample;
use crate::scripts::Script;
use crate::state::{ENDED, Life, State, Step};
use heartbeat::verdict::wakeup::doom;
use std::collections::HashMap;

/// States of one script beyond which it is left alone; what lies beyond counts as if the main thread never ran there.
const STATES_MAX: usize = 4000;

/// What the states of some scripts showed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) states: u64,
    /// The main thread can never run again, and the script was explored to its end.
    pub(crate) dead: u64,
    /// It was called doomed in so many of these.
    pub(crate) found: u64,
    /// Nothing at all can happen any more, not even elsewhere.
    pub(crate) still: u64,
    /// The main thread was called doomed in so many of these.
    pub(crate) found_still: u64,
    /// Threads that these proofs rest on.
    pub(crate) threads: u64,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: &Self) {
        self.states += other.states;
        self.dead += other.dead;
        self.found += other.found;
        self.still += other.still;
        self.found_still += other.found_still;
        self.threads += other.threads;
    }
}

/// Explores a script. The error describes a state that was called doomed although the main thread can run again.
pub(crate) fn explore(script: &Script, seed: u64) -> Result<Outcome, String> {
    let Reached {
        states,
        before,
        mut runs,
        still,
        whole,
    } = reach(script);
    // Backwards from every state in which the main thread is the next to run.
    let mut open: Vec<usize> = (0..states.len()).filter(|n| runs[*n]).collect();
    while let Some(n) = open.pop() {
        for earlier in &before[n] {
            let earlier = *earlier as usize;
            if !std::mem::replace(&mut runs[earlier], true) {
                open.push(earlier);
            }
        }
    }
    let mut outcome = Outcome::default();
    for (n, state) in states.iter().enumerate() {
        let runs = runs[n];
        if state.life[0] != Life::Alive {
            continue;
        }
        outcome.states += 1;
        let doom = doom(&sample(script, state, seed));
        if let (Some(doom), true) = (&doom, runs) {
            return Err(format!("{doom:?}, and yet it can run from {state:?}"));
        }
        if whole && !runs {
            outcome.dead += 1;
            outcome.found += u64::from(doom.is_some());
            outcome.still += u64::from(still[n]);
            outcome.found_still += u64::from(still[n] && doom.is_some());
        }
        outcome.threads += doom.map_or(0, |doom| doom.threads.len() as u64);
    }
    Ok(outcome)
}

/// The states of a script and, for each of them,
struct Reached {
    states: Vec<State>,
    /// those before it,
    before: Vec<Vec<u32>>,
    /// whether the main thread is one that may run next,
    runs: Vec<bool>,
    /// whether nothing may happen next.
    still: Vec<bool>,
    /// There are no more.
    whole: bool,
}

fn reach(script: &Script) -> Reached {
    let start = State::start(script);
    let mut states = vec![start];
    let mut before: Vec<Vec<u32>> = vec![Vec::new()];
    let mut runs = Vec::new();
    let mut still = Vec::new();
    let mut known = HashMap::from([(start, 0_usize)]);
    let mut steps: Vec<Step> = Vec::new();
    let mut whole = true;
    let mut next = 0;
    while let Some(state) = states.get(next).copied() {
        let mut main = false;
        if state.life[0] == Life::Alive {
            state.steps(script, &mut steps);
        } else {
            steps.clear();
        }
        for step in &steps {
            main |= step
                .ran
                .is_some_and(|(p, t)| p == 0 && (t == 0 || state.at[0][0] == ENDED));
            let at = match known.get(&step.to) {
                Some(at) => *at,
                None if states.len() >= STATES_MAX => {
                    whole = false;
                    continue;
                }
                None => {
                    known.insert(step.to, states.len());
                    states.push(step.to);
                    before.push(Vec::new());
                    states.len() - 1
                }
            };
            before[at].push(u32::try_from(next).unwrap_or(u32::MAX));
        }
        runs.push(main);
        still.push(steps.is_empty());
        next += 1;
    }
    Reached {
        states,
        before,
        runs,
        still,
        whole,
    }
}
