//! Carries out what the lifecycle decides.

use super::agent::Body;
use super::{Hub, Outcome, SEARCH_EVERY};
use crate::clock;
use crate::config::{INSTANCE, Work};
use crate::process::attach;
use crate::process::child;
use crate::process::handle::Process;
use crate::process::terminal::shares_terminal;
use hbshell::runtime;
use heartbeat::supervise::lifecycle::{Effect, Input};
use heartbeat::wire::beat::{Exit, cut};
use heartbeat::wire::event::{Detail, EventKind};
use heartbeat::wire::life::Reason;
use nix::libc;
use nix::unistd::getsid;
use rustix::time::{ClockId, clock_gettime};
use std::ffi::OsString;
use std::time::Duration;

/// When the first figures of an incarnation are published: an agent has loaded most of what it needs by then.
const EARLY_BEAT: Duration = Duration::from_millis(600);
/// The longest error and the longest list of survivors in an event, in characters.
const ERROR_CHARS_MAX: usize = 200;
const SURVIVORS_CHARS_MAX: usize = 500;

/// A search costs no more than this share of a core: it reads every command line of the machine.
const SEARCH_COST_SHARE: u32 = 200;
/// The longest pause between two searches.
const SEARCH_PAUSE_MAX: Duration = Duration::from_secs(10);

impl Hub {
    /// Gives the lifecycle an input and carries out what it decides.
    pub(super) fn decide(&mut self, input: Input) {
        let effects = self.agent.handle(input);
        self.carry_out(effects);
    }

    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Start => self.start_or_search(),
                Effect::RequestStop => {
                    self.agent.request_stop(self.config.stop_signal);
                    // The stop is stored when it is requested: KILL may follow, also of hbsidecar.
                    if self.report_life() {
                        self.beat();
                    }
                }
                Effect::CleanUp => {
                    self.warn_of_daemon();
                    self.agent.tree.signal(&[libc::SIGTERM, libc::SIGCONT]);
                }
                Effect::TakeEvidence => self.take_evidence(),
                Effect::Kill => {
                    if self.agent.kill() {
                        self.decide(Input::TreeEmpty);
                    }
                }
                Effect::ReportSurvivors => self.report_survivors(),
                Effect::ReportDelay(delay) => self.log_restart(delay),
                Effect::ReportCrashLoop => self.report_crash_loop(),
                Effect::ReportCrashLoopOver => {
                    tracing::info!("the agent has lasted: its crash loop is over");
                    self.agent.facts.trouble = None;
                    self.report_life();
                    self.beat();
                }
                Effect::End => {
                    let exit = self.agent.facts.last.unwrap_or(Exit::UNKNOWN);
                    self.outcome.get_or_insert(Outcome::Ended(exit));
                }
            }
        }
    }

    /// A program that goes into the background ends well and leaves a process with a session of its own: its user expects
    /// that it runs on.
    fn warn_of_daemon(&self) {
        let ended_well = self
            .agent
            .facts
            .last
            .is_some_and(|exit| exit.code == Some(0));
        if !ended_well || self.agent.life.requested() {
            return;
        }
        // 0 where its leader is outside our pid namespace, in /proc too: rustix takes that for impossible.
        let own = getsid(None).map_or(0, nix::unistd::Pid::as_raw);
        let left = self.agent.tree.members();
        if let Some(daemon) = left.iter().find(|member| member.session != own) {
            tracing::warn!(
                "the agent has ended and left {} ({}) in the background: ending it; start the agent in the foreground, \
                 or let such processes run on with --keep-orphans",
                daemon.name,
                daemon.pid
            );
        }
    }

    /// Logs why the agent is started again, when, and which restart of its budget that is.
    fn log_restart(&mut self, delay: Duration) {
        let why = self.agent.facts.unlogged_end.take();
        let why = why.map_or_else(String::new, |how| format!("the agent ended: {how}; "));
        let when = if delay.is_zero() {
            "now".to_owned()
        } else {
            format!("in {:.1} s", delay.as_secs_f64())
        };
        match self.agent.life.attempt() {
            Some((attempt, of)) => {
                tracing::warn!("{why}restarting it {when} (attempt {attempt} of {of})");
            }
            None => tracing::warn!("{why}restarting it {when}"),
        }
    }

    fn start_or_search(&mut self) {
        if self.agent.facts.ends_for_pod {
            self.outcome = Some(Outcome::PodRestart);
        } else if self.config.work.starts_agents() {
            if self.agent.facts.unlogged_end.is_some() {
                self.log_restart(Duration::ZERO);
            }
            self.start();
        } else {
            self.agent.next_search = Some(clock::now());
        }
    }

    /// Starts an incarnation as a child.
    pub(super) fn start(&mut self) {
        if !self.may_start() {
            return self.decide(Input::Stop);
        }
        self.new_incarnation();
        self.io.starts_below_us();
        let environment = self.environment();
        let Work::Supervise(command) = &self.config.work else {
            return; // a process of another program is attached to, never started
        };
        match self.agent.spawn(command, &environment, self.io.outputs()) {
            Ok((pid, loading)) => {
                self.watch.loading = loading;
                self.record(&self.instance.env_marker());
                self.log.leave_screen();
                self.io.started(pid);
                self.started();
            }
            Err(error) => {
                tracing::error!("{error}");
                let effects = self.agent.not_started(&error);
                if !self.publisher.registered {
                    self.report_registration();
                }
                self.report_life();
                self.report_event(
                    EventKind::Exited,
                    Detail {
                        exit: self.agent.facts.last,
                        incarnation: Some(self.agent.facts.incarnation),
                        message: Some(cut(error.to_string(), ERROR_CHARS_MAX)),
                        ..Detail::default()
                    },
                );
                self.carry_out(effects);
                if self.outcome.is_some() {
                    self.outcome = Some(Outcome::NotStarted(error.exit_code()));
                }
            }
        }
    }

    /// Watches a process that another program started.
    pub(super) fn attach(&mut self, process: Process) -> std::io::Result<()> {
        tracing::info!("attached to process {}", process.pid);
        for lack in attach::lacks(&process) {
            tracing::warn!("{lack}");
        }
        if matches!(self.config.work, Work::Transparent(_)) || shares_terminal(process.pid) {
            self.log.leave_screen();
        }
        self.new_incarnation();
        self.io.attached_to(process.pid);
        let marker =
            matches!(self.config.work, Work::Transparent(_)).then(|| self.instance.env_marker());
        let is_ours = marker.is_some();
        if !is_ours {
            // It may have come after us, into a container or a unit of its own.
            let runtime = runtime::detect(&self.config.host, Some(process.pid));
            self.publisher.set_runtime(runtime);
        }
        self.agent.attach(process, marker)?;
        if is_ours {
            self.record(&self.instance.env_marker());
        }
        self.started();
        Ok(())
    }

    /// Watches the agent of a sidecar that was killed.
    pub(super) fn adopt(&mut self, process: Process, env_marker: OsString) -> std::io::Result<()> {
        child::adopt_orphans();
        if shares_terminal(process.pid) {
            self.log.leave_screen();
        }
        self.new_incarnation();
        self.io.attached_to(process.pid);
        self.agent.adopt(process, env_marker.clone())?;
        self.record(&env_marker);
        self.started();
        Ok(())
    }

    /// Searches for the agent's next incarnation.
    pub(super) fn search(&mut self) {
        self.agent.next_search = None;
        if !self.agent.life.is_starting() {
            return;
        }
        let Some(target) = self.config.work.target() else {
            return;
        };
        let before = clock_gettime(ClockId::ThreadCPUTime);
        let attached = match attach::find(&target, &self.agent.programs) {
            Ok(process) => self
                .attach(process)
                .map_err(|error| Some(error.to_string())),
            Err(error) => Err(error.obstacle()),
        };
        match attached {
            Ok(()) => self.agent.obstacle = None,
            Err(obstacle) => {
                let cost = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime) - before);
                let pause = pause_after(cost.unwrap_or_default());
                self.agent.next_search = Some(clock::now() + pause);
                self.is_in_the_way(obstacle);
            }
        }
    }

    /// Logs and reports why no process can be found, once for each reason.
    fn is_in_the_way(&mut self, obstacle: Option<String>) {
        if obstacle == self.agent.obstacle {
            return;
        }
        if let Some(obstacle) = &obstacle {
            tracing::warn!("{obstacle}; retrying");
        }
        self.agent.obstacle = obstacle;
        if self.publisher.registered && self.report_life() {
            self.beat();
        }
    }

    /// A new incarnation is about to start: what the previous one reported does not count for it.
    fn new_incarnation(&mut self) {
        self.watch.report.new_incarnation();
        self.io.new_incarnation();
    }

    fn started(&mut self) {
        self.agent.incarnation_started();
        self.watch.new_incarnation(clock::now());
        self.early_beat = Some(clock::now() + EARLY_BEAT);
        self.decide(Input::Started);
        let is_crash_loop = self.agent.life.has_to_last();
        let facts = &mut self.agent.facts;
        facts.incarnation = self.agent.life.incarnation();
        facts.look_for_reader();
        facts.trouble = is_crash_loop.then_some(Reason::CrashLoop);
        facts.hung = false;
        let incarnation = Some(facts.incarnation);
        if !self.publisher.registered {
            self.report_registration();
        } else {
            self.report_life();
            self.report_event(
                EventKind::Restarted,
                Detail {
                    incarnation,
                    ..Detail::default()
                },
            );
        }
        if let Some(answer) = self.orders.restarted() {
            self.answer_order(answer);
        }
        self.beat();
    }

    /// The agent's environment beside our own.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let epoch = self.publisher.epoch.unwrap_or(0);
        let mut variables = vec![
            ("HB_AGENT_ID", self.config.id.as_str().into()),
            ("HB_AGENT_TYPE", self.config.agent_type.clone().into()),
            ("HB_EPOCH", epoch.to_string().into()),
            (INSTANCE, self.instance.mark()),
        ];
        variables.extend(self.io.environment());
        variables
    }

    fn report_survivors(&mut self) {
        let message = self.agent.survivors();
        tracing::error!("{message}");
        self.agent.facts.trouble = Some(Reason::Unkillable);
        self.report_life();
        self.report_event(
            EventKind::Unkillable,
            Detail {
                message: Some(cut(message, SURVIVORS_CHARS_MAX)),
                ..Detail::default()
            },
        );
    }

    fn report_crash_loop(&mut self) {
        let policy = &self.config.policy;
        let window = humantime::format_duration(policy.window);
        let message = if self.config.work.starts_agents() {
            let message = match policy.restarts_max {
                0 => "no restart is allowed (--max-restarts 0)".to_owned(),
                1 => format!("the one restart in {window} is used up"),
                count => format!("{count} restarts in {window} are used up"),
            };
            tracing::error!("{message}; not restarting the agent");
            message
        } else {
            let message = format!(
                "it failed more than {} times in {window}",
                policy.restarts_max
            );
            tracing::error!("the agent is in a crash loop: {message}");
            message
        };
        if !matches!(self.agent.body, Body::Absent) {
            self.agent.facts.trouble = Some(Reason::CrashLoop);
            self.report_life();
        }
        self.report_event(
            EventKind::CrashLoop,
            Detail {
                message: Some(message),
                exit: self.agent.facts.last,
                ..Detail::default()
            },
        );
    }
}

/// The pause after a search that took this much of a processor.
fn pause_after(cost: Duration) -> Duration {
    (cost * SEARCH_COST_SHARE).clamp(SEARCH_EVERY, SEARCH_PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_on_a_crowded_machine_comes_less_often() {
        let millis = Duration::from_millis;
        assert_eq!(pause_after(millis(1)), SEARCH_EVERY);
        assert_eq!(pause_after(millis(10)), Duration::from_secs(2));
        assert_eq!(pause_after(millis(900)), SEARCH_PAUSE_MAX);
    }
}
