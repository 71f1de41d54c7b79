//! Sentences about an agent: what is the matter, and what happens next by itself. Read by people, never by a decision.

use crate::base::duration::format_duration;
use crate::base::id::AgentId;
use crate::base::moment::Moment;
use crate::fleet::agent::{Agent, State, Transition};
use crate::fleet::exchange::Change;
use crate::fleet::last_beat::LastBeat;
use crate::wire::beat::{Evidence, Source, Verdict};
use crate::wire::life::{End, Life, Phase, Reason};
use std::borrow::Cow;
use std::time::Duration;

/// Signals by name, as on Linux for x86-64 and ARM; the others are shown by number alone.
const SIGNALS: [(u8, &str); 11] = [
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (11, "SIGSEGV"),
    (13, "SIGPIPE"),
    (15, "SIGTERM"),
];

impl Agent {
    /// What is the matter with the agent at `now`.
    pub fn sentence(&self, now: Moment) -> Cow<'_, str> {
        match self.state {
            State::Healthy => self.healthy_sentence(now),
            State::Missing => self.missing_sentence(now).into(),
            State::Stopped => self.stopped_sentence().into(),
            State::Failed => self.failed_sentence(now),
        }
    }

    /// What happens without a person, and when. `None`: nothing does.
    pub fn next(&self, now: Moment) -> Option<String> {
        let within = |at: Moment| format_duration(at.since(now));
        let decides = self.person_next();
        match self.state {
            State::Healthy if self.run.life.phase == Phase::Running && decides.is_some() => {
                decides.map(str::to_owned)
            }
            // A listing has it for nearly every agent: not by `format!`, which costs as much as the rest of the row.
            State::Healthy if self.run.life.phase == Phase::Running => {
                let within = within(self.run.detector.missing_at());
                Some(
                    [
                        "It counts as missing in ",
                        &within,
                        " unless a beat arrives.",
                    ]
                    .concat(),
                )
            }
            State::Missing => Some(format!(
                "hb verifies with the store in {}. Only then it counts as failed.",
                within(self.run.detector.failed_at())
            )),
            State::Healthy | State::Failed | State::Stopped => self.next_start(now),
        }
    }

    /// What happens next when only a person can decide: nothing by itself.
    fn person_next(&self) -> Option<&'static str> {
        if self.reason == Some(Reason::Duplicate) {
            return Some("hb restarts neither. Stop one, or give it another --id.");
        }
        match self.run.beat.as_ref()?.hb?.verdict? {
            Verdict::WaitingInput => Some(
                "It waits as long as you like. hb never restarts an agent that waits for a person.",
            ),
            Verdict::Stalled | Verdict::Spinning | Verdict::Looping => Some(
                "hbmonitor does nothing by itself. This is a suspicion, not a proof, so a person decides.",
            ),
            Verdict::Hung => {
                Some("Nothing by itself: its sidecar is set to alert. Restart it, or end it.")
            }
            Verdict::Paused => Some("Nothing by itself."),
            Verdict::Unknown => Some("Nothing by itself: hb never acts on what it cannot see."),
            Verdict::Starting
            | Verdict::Working
            | Verdict::WaitingModel
            | Verdict::Sleeping
            | Verdict::Idle => None,
        }
    }

    /// A change of this agent: `at` is its state and reason then, else those of now.
    pub(crate) fn change(
        &self,
        id: AgentId,
        from: Option<State>,
        at: Option<Transition>,
        now: Moment,
    ) -> Change {
        let at = at.unwrap_or_else(|| Transition {
            to: self.state,
            reason: self.reason,
            sentence: self.sentence(now).into_owned(),
        });
        Change {
            agent: id,
            from,
            to: at.to,
            reason: at.reason,
            sentence: at.sentence,
            host: self.host().map(str::to_owned),
            interval: self.run.detector.interval(),
            evidence: self.evidence(at.reason, now),
        }
    }

    /// What shows this reason.
    fn evidence(&self, reason: Option<Reason>, now: Moment) -> Vec<Evidence> {
        let observed = |signal: &str, value: String| Evidence {
            signal: signal.to_owned(),
            value,
            source: Source::Observed,
        };
        let end = self.run.life.end.as_ref();
        match reason {
            None => Vec::new(),
            Some(Reason::HeartbeatLost) => {
                let age = self.since_last_beat(now);
                let age = age.unwrap_or_else(|| "none since hbmonitor started".to_owned());
                let due = self.interval();
                let listed = [("beat.age", age), ("beat.interval", due)];
                listed.map(|(signal, value)| observed(signal, value)).into()
            }
            Some(Reason::Hung) => {
                let activity = self.run.beat.as_ref().and_then(LastBeat::activity);
                activity
                    .map(|activity| activity.evidence)
                    .unwrap_or_default()
            }
            Some(
                Reason::Exited
                | Reason::Killed
                | Reason::OomKilled
                | Reason::CrashLoop
                | Reason::Duplicate
                | Reason::Fenced
                | Reason::Operator
                | Reason::Unkillable
                | Reason::Unknown,
            ) => {
                let exit = end.map(|end| end.exit);
                let code = exit
                    .and_then(|exit| exit.code)
                    .map(|code| ("exit.code", code));
                let signal = exit
                    .and_then(|exit| exit.signal)
                    .map(|n| ("exit.signal", n));
                let shown = [code, signal].into_iter().flatten();
                shown
                    .map(|(signal, value)| observed(signal, value.to_string()))
                    .collect()
            }
        }
    }

    fn healthy_sentence(&self, now: Moment) -> Cow<'_, str> {
        if self.reason == Some(Reason::Duplicate) {
            return self.duplicate_sentence().into();
        }
        match self.run.life.phase {
            Phase::Stopping => format!(
                "It was asked to stop {} ago. Its process is still running.",
                format_duration(now.since(self.run.life_at))
            )
            .into(),
            Phase::Restarting => "It ended cleanly. Its sidecar is starting it again.".into(),
            Phase::Waiting | Phase::Suspended | Phase::Detached | Phase::Ended | Phase::Running => {
                self.activity_sentence()
                    .unwrap_or_else(|| match self.run.beat {
                        Some(_) => {
                            format!("Its beats come in time, one every {}.", self.interval()).into()
                        }
                        None => "It is registered. Its first beat has not come yet.".into(),
                    })
            }
        }
    }

    fn duplicate_sentence(&self) -> String {
        let two = "Two living agents use this id";
        match (self.host(), self.run.rival_host()) {
            (Some(host), Some(other)) if host == other => format!("{two}, both on {host}."),
            (Some(host), Some(other)) => format!("{two}: one on {host}, one on {other}."),
            _ => format!("{two}."),
        }
    }

    fn missing_sentence(&self, now: Moment) -> String {
        let due = self.interval();
        let Some(last) = self.since_last_beat(now) else {
            return format!("No beat since this monitor started; one is due every {due}.");
        };
        match self.run.detector.missed(now) {
            0 | 1 => format!("One beat is late: the last came {last} ago, one is due every {due}."),
            n => format!("{n} beats are late: the last came {last} ago, one is due every {due}."),
        }
    }

    fn stopped_sentence(&self) -> String {
        let life = &self.run.life;
        match self.reason {
            Some(Reason::Operator) => return "It was stopped by a person.".to_owned(),
            Some(Reason::Fenced) => {
                return "A newer run of it took over, and its sidecar stopped it.".to_owned();
            }
            Some(
                Reason::HeartbeatLost
                | Reason::Exited
                | Reason::Killed
                | Reason::OomKilled
                | Reason::Hung
                | Reason::CrashLoop
                | Reason::Duplicate
                | Reason::Unkillable
                | Reason::Unknown,
            )
            | None => {}
        }
        let text = match (life.phase, &life.waits_for) {
            (Phase::Suspended, _) => {
                "It is suspended at its terminal (Ctrl-Z). Its sidecar is suspended too and sends no beats."
            }
            (Phase::Detached, _) => "It is detached: its sidecar does not watch it any more.",
            (Phase::Stopping, _) => {
                "It was asked to stop. Its beats ceased before its end was reported."
            }
            (Phase::Waiting, Some(what)) => {
                let ended = match &life.end {
                    Some(_) => "It ended cleanly. ",
                    None => "",
                };
                let obstacle = life.obstacle.as_ref();
                let obstacle =
                    obstacle.map_or_else(String::new, |why| format!(" Not found: {why}."));
                return format!("{ended}Its sidecar is waiting for {what}.{obstacle}");
            }
            (Phase::Restarting, _) => "It ended cleanly. Its sidecar starts it again.",
            (Phase::Waiting | Phase::Ended | Phase::Running, _) => stopped(life.end.as_ref()),
        };
        text.to_owned()
    }

    fn failed_sentence(&self, now: Moment) -> Cow<'_, str> {
        let end = self.run.life.end.as_ref();
        let text = match self.reason {
            Some(Reason::HeartbeatLost) | None => return self.lost_sentence(now).into(),
            Some(Reason::Exited) => return exited(end).into(),
            Some(Reason::Killed) => return killed(end).into(),
            Some(Reason::OomKilled) => "It was killed for memory: the kernel ended its process.",
            Some(Reason::Hung) => return self.hung_sentence(),
            Some(Reason::CrashLoop) if self.run.is_hung() => {
                let hung = self.hung_sentence();
                return format!("It hangs again and again, and no restart is left: {hung}").into();
            }
            Some(Reason::CrashLoop) => return crash_loop(&self.run.life).into(),
            Some(Reason::Duplicate) => return self.duplicate_sentence().into(),
            Some(Reason::Fenced) => {
                "A newer run of it took over. The beats of this one are refused."
            }
            Some(Reason::Operator) => "It was stopped by a person.",
            Some(Reason::Unkillable) => "It cannot be killed: its processes survive SIGKILL.",
            Some(Reason::Unknown) => {
                "Its sidecar reports a problem that this version does not know. Upgrade hbmonitor."
            }
        };
        text.into()
    }

    /// The beat with the verdict may still be to come, or an incarnation before the hung one may have sent the last.
    fn hung_sentence(&self) -> Cow<'_, str> {
        let sentence = self.activity_sentence().filter(|_| self.run.is_hung());
        sentence.unwrap_or("It can never go on by itself.".into())
    }

    fn lost_sentence(&self, now: Moment) -> String {
        let due = self.interval();
        match self.since_last_beat(now) {
            Some(last) => {
                format!("No beat for {last}, due every {due}.")
            }
            None => format!("No beat since this monitor started, due every {due}."),
        }
    }

    fn activity_sentence(&self) -> Option<Cow<'_, str>> {
        self.run.beat.as_ref()?.sentence()
    }

    fn since_last_beat(&self, now: Moment) -> Option<String> {
        let at = self.run.beat_at?;
        Some(format_duration(now.since(at)))
    }

    fn interval(&self) -> String {
        format_duration(self.run.detector.interval())
    }

    fn next_start(&self, now: Moment) -> Option<String> {
        let life = &self.run.life;
        match life.phase {
            Phase::Restarting => {
                let restart = life.restart?;
                let at = self.run.life_at + Duration::from_millis(restart.in_ms);
                let attempt = restart
                    .attempt
                    .map_or_else(String::new, |(n, of)| format!(", attempt {n} of {of}"));
                let wait = at.since(now);
                if wait.is_zero() {
                    return Some(format!("Its sidecar is restarting it now{attempt}."));
                }
                let wait = format_duration(wait);
                Some(format!(
                    "Its sidecar backs off, restarting in {wait}{attempt}."
                ))
            }
            Phase::Waiting => {
                let what = life.waits_for.as_deref().unwrap_or("its process");
                Some(format!("It is watched again as soon as there is {what}."))
            }
            Phase::Stopping if self.state == State::Healthy => {
                Some("It counts as stopped when its process has ended.".to_owned())
            }
            Phase::Stopping
            | Phase::Suspended
            | Phase::Detached
            | Phase::Ended
            | Phase::Running => None,
        }
    }
}

const SIGHUP: u8 = 1;
const SIGKILL: u8 = 9;
const SIGPIPE: u8 = 13;

/// How an agent ended that counts as stopped: by itself, or because it was asked to.
fn stopped(end: Option<&End>) -> &'static str {
    match end.and_then(|end| end.exit.signal) {
        Some(SIGKILL) => "It was asked to stop, and had to be killed.",
        Some(SIGHUP) => "It ended by SIGHUP, as when its terminal is closed.",
        Some(SIGPIPE) => "It ended because nothing reads its output any more.",
        Some(_) | None => "It ended cleanly.",
    }
}

fn exited(end: Option<&End>) -> String {
    match end.and_then(|end| end.exit.code) {
        Some(code) if end.is_some_and(|end| end.not_started) => {
            format!("Its command could not be started (code {code}).")
        }
        Some(code) => format!("It exited with code {code}."),
        None => "It ended. Its exit code could not be read.".to_owned(),
    }
}

fn killed(end: Option<&End>) -> String {
    let Some(signal) = end.and_then(|end| end.exit.signal) else {
        return "It was killed.".to_owned();
    };
    match SIGNALS.iter().find(|(number, _)| *number == signal) {
        Some((_, name)) => format!("It was killed by {name} (signal {signal})."),
        None => format!("It was killed by signal {signal}."),
    }
}

fn crash_loop(life: &Life) -> String {
    let end = life.end.as_ref();
    let how = match end.and_then(|end| end.exit.code) {
        Some(code) => format!("it exited with code {code}"),
        None => "it ended".to_owned(),
    };
    // Another program goes on starting it.
    let is_followed = end.is_some_and(|end| end.reason == Some(Reason::CrashLoop))
        && match life.phase {
            Phase::Waiting | Phase::Running | Phase::Stopping => true,
            Phase::Restarting | Phase::Suspended | Phase::Detached | Phase::Ended => false,
        };
    if is_followed {
        return format!("It is in a crash loop: {how}, again and again.");
    }
    format!("It is in a crash loop: {how}, and no restart is left.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::run::Run;
    use crate::wire::beat::Exit;
    use crate::wire::life::NextStart;

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(1_000_000 + seconds * 1000)
    }

    fn agent(state: State, reason: Option<Reason>, life: Life) -> Agent {
        let mut run = Run::begin(1, Duration::from_secs(30), at(0));
        run.report(life, at(0));
        run.beat_at = Some(at(0));
        let mut agent = Agent::new(run, at(0));
        (agent.state, agent.reason) = (state, reason);
        agent
    }

    fn ended(exit: Exit, phase: Phase) -> Life {
        Life {
            phase,
            end: Some(End {
                incarnation: 0,
                exit,
                reason: None,
                requested: false,
                not_started: false,
            }),
            restart: Some(NextStart {
                in_ms: 4000,
                attempt: Some((2, 3)),
            }),
            ..Life::default()
        }
    }

    #[test]
    fn silence_is_described_with_its_limit() {
        let missing = agent(State::Missing, None, Life::default());
        assert_eq!(
            missing.sentence(at(44)),
            "One beat is late: the last came 44 s ago, one is due every 30 s."
        );
        assert_eq!(
            missing.next(at(44)).unwrap(),
            "hb verifies with the store in 51 s. Only then it counts as failed."
        );
        let lost = agent(State::Failed, Some(Reason::HeartbeatLost), Life::default());
        assert_eq!(
            lost.sentence(at(97)),
            "No beat for 1 min 37 s, due every 30 s."
        );
    }

    #[test]
    fn an_end_is_described_by_its_code_or_signal_and_the_next_start() {
        let code = Exit {
            code: Some(3),
            signal: None,
        };
        let exited = agent(
            State::Failed,
            Some(Reason::Exited),
            ended(code, Phase::Restarting),
        );
        assert_eq!(exited.sentence(at(0)), "It exited with code 3.");
        assert_eq!(
            exited.next(at(1)).unwrap(),
            "Its sidecar backs off, restarting in 3 s, attempt 2 of 3."
        );
        let signal = Exit {
            code: None,
            signal: Some(9),
        };
        let killed = agent(
            State::Failed,
            Some(Reason::Killed),
            ended(signal, Phase::Ended),
        );
        assert_eq!(
            killed.sentence(at(0)),
            "It was killed by SIGKILL (signal 9)."
        );
        assert_eq!(killed.next(at(0)), None);
    }
}
