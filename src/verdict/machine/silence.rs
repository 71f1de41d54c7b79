//! No rule matched a tree that does not move: what does the agent wait for, and is that within its budget?

use super::VerdictMachine;
use crate::base::moment::Moment;
use crate::verdict::Fix;
use crate::verdict::assessment::Assessment;
use crate::verdict::finding::observed;
use crate::verdict::rule::RuleId;
use crate::verdict::rules::{blocked, deadlock, inputs, timers, waiting};
use crate::verdict::sample::{Sample, Socket, Subject, Tcp};
use crate::verdict::thresholds;
use crate::verdict::tree_view::TreeView;
use crate::verdict::turn::by_request;
use crate::wire::activity::Verdict;
use crate::wire::declared_state::DeclaredState;

type Connections<'a> = Vec<(&'a Socket, &'a Tcp)>;

/// Rules that go by silence alone. Only progress ends what they found: silence that goes on under another name is silence.
const SILENT: [RuleId; 3] = [RuleId::NoProgress, RuleId::ToolLate, RuleId::AnswerLate];

impl VerdictMachine {
    /// Between two bursts of work, `working` stays published instead of a harmless wait.
    pub(super) fn is_in_hysteresis(&self, assessment: &Assessment) -> bool {
        let hysteresis = self
            .clock
            .scaled(thresholds::HYSTERESIS)
            .max(thresholds::HYSTERESIS_MIN);
        self.settings.one_off.is_none()
            && (self.judgement.verdict == Verdict::Working || self.published.is_none())
            && !assessment.verdict.is_flag()
            && assessment.fix == Fix::None
            && self.clock.since_progress() < hysteresis
    }

    /// None: what was found before still holds.
    pub(super) fn explain_wait(&mut self, view: &TreeView<'_>, now: Moment) -> Option<Assessment> {
        let due = view.owes_turn() || self.draws_turn;
        let polled = |socket: &Socket| self.history.connections.is_polled(socket.inode);
        let mut pending: Connections<'_> = view.pending_requests();
        pending.retain(|(socket, _)| !polled(socket));
        let longest = |s: &Socket, tcp: &Tcp| self.history.longest_request(s, tcp);
        by_request(&mut pending, longest);
        // What shows that an answer is due shows that one may have stopped half way.
        let mut connections: Connections<'_> = Vec::new();
        if due {
            connections = view.request_connections();
            // Who looks for something over the one connection that there is waits for no answer there.
            let looks = self.clock.polls() && !view.sample.processes.iter().any(|p| p.agent);
            if looks || !connections.iter().all(|(socket, _)| polled(socket)) {
                connections.retain(|(socket, _)| !polled(socket));
            }
            by_request(&mut connections, longest);
        }
        let assessment = self.explain_silence(view, &pending, &connections, now);
        let silent = SILENT.contains(&self.judgement.cause) && self.judgement.verdict.is_flag();
        let owed = due || !pending.is_empty();
        (assessment.verdict.is_flag() || !(silent && owed)).then_some(assessment)
    }

    /// The first sample: a limit that counts from the call is read best as early as can be.
    pub(super) fn track_timers(&mut self, sample: &Sample) {
        let (report, busy) = (self.report.clone(), self.history.busy_peers());
        let view = TreeView {
            sample,
            report: &report,
            busy: &busy,
            serves: false,
            is_patient: false,
        };
        self.clock
            .track_timers(&timers::sleepers(&view, &[]), sample.at);
    }

    fn explain_silence(
        &mut self,
        view: &TreeView<'_>,
        pending: &[(&Socket, &Tcp)],
        connections: &[(&Socket, &Tcp)],
        now: Moment,
    ) -> Assessment {
        let due = view.owes_turn() || self.draws_turn;
        self.clock
            .track_timers(&timers::sleepers(view, connections), view.sample.at);
        self.clock.track_polling(timers::root_sleep(view));
        self.awaits_model = false;
        if let Some((thread, until)) = self.clock.longest_timer(self.settings.stall_after, now)
            && pending.is_empty()
            && (due || !view.listens(Subject::Tree))
        {
            return timers::asleep(view, thread, until, now);
        }
        if !pending.is_empty() || view.report.state == Some(DeclaredState::WaitingModel) {
            return self.await_answer(view, pending, now);
        }
        if let Some(assessment) = waiting::unreadable(view) {
            return assessment;
        }
        let owes = view.report.owes_work();
        if let Some(peer) = waiting::unix_peer(view) {
            if owes && view.works(peer) {
                self.clock.excuse_silence();
            }
            let quiet = self.clock.unexcused_silence();
            // It is there, for its process lives.
            let limit = self.clock.scaled(thresholds::ANSWER_BUDGET_PEER_ALIVE);
            let late = (owes && quiet >= limit).then_some((quiet, limit));
            return waiting::peer(view, peer, late);
        }
        if let Some(holder) = blocked::lock_at_work(view) {
            self.clock.excuse_silence();
            return waiting::lock(view, holder);
        }
        if let Some(tool) = view.tool(connections) {
            let quiet = self.clock.unexcused_silence();
            let limit = self.clock.scaled(thresholds::ANSWER_BUDGET);
            return waiting::tool(tool, quiet, limit, quiet >= limit);
        }
        if !connections.is_empty() {
            return self.await_answer(view, connections, now);
        }
        if owes && let Some(asks) = inputs::watched(view).or_else(|| timers::outside_event(view)) {
            // The next sample may find it awake for a moment.
            self.clock.excuse_silence();
            return asks;
        }
        if view.owes_turn() {
            return self.owed(view);
        }
        waiting::idle(view)
    }

    /// Work is owed, and nothing shows what it waits for. (A thread that holds its lock and wakes now and then is at work.) An
    /// agent that has asked its model may be backing off, and so may one that goes on reporting the same: both have the model's
    /// budget, and so has who asks a database or by datagrams. A program that looks for something now and then, over connections
    /// too short to be seen, has more.
    fn owed(&self, view: &TreeView<'_>) -> Assessment {
        let quiet = self.clock.unexcused_silence();
        let agent = view.sample.processes.iter().any(|p| p.agent);
        let polls = self.clock.polls() || timers::has_timer_descriptor(view);
        let holder = deadlock::holder(view);
        let is_held = holder.is_some_and(|thread| self.clock.woke_recently(thread));
        let budget = if (polls || is_held) && !agent {
            thresholds::POLLING_BUDGET
        } else if self.asked_model || self.repeats_output || view.asks_elsewhere() {
            thresholds::ANSWER_BUDGET
        } else {
            self.settings.stall_after
        };
        let limit = self.clock.scaled(budget.max(self.settings.stall_after));
        let awake = polls && !agent && self.clock.pauses();
        let is_late = quiet >= limit && !awake && !self.tries_again(None, view.sample.at);
        waiting::owed(view, quiet, limit, is_late)
    }

    /// A client that gives up and asks again has some attempts.
    fn tries_again(&self, connection: Option<u64>, now: Moment) -> bool {
        let moment = self.clock.scaled(thresholds::GIVEN_UP_AFTER);
        self.history
            .connections
            .may_be_answered(connection, now, moment)
    }

    /// An answer may arrive over one of these connections.
    fn await_answer(
        &mut self,
        view: &TreeView<'_>,
        pending: &[(&Socket, &Tcp)],
        now: Moment,
    ) -> Assessment {
        self.awaits_model = true;
        self.asked_model = true;
        let budget = if self.peer_alive {
            thresholds::ANSWER_BUDGET_PEER_ALIVE
        } else {
            thresholds::ANSWER_BUDGET
        };
        let quiet = self.clock.unexcused_silence();
        let quiet = match self.settings.one_off {
            // In a one-off diagnosis only the kernel remembers for how long nothing was received.
            Some(_) => {
                let silent = pending
                    .iter()
                    .map(|(_, tcp)| tcp.received_ago.min(tcp.sent_ago));
                quiet.max(silent.min().unwrap_or_default())
            }
            // An agent that opens a new connection has got its answer on the one before, unless it asks the same again.
            None => {
                let age = pending
                    .first()
                    .map(|(s, _)| self.history.connections.age(s.inode, now));
                quiet.min(age.unwrap_or(quiet))
            }
        };
        let limit = self.clock.scaled(budget.max(self.settings.stall_after));
        let is_late =
            quiet >= limit && !self.tries_again(pending.first().map(|(s, _)| s.inode), now);
        let late = is_late.then_some((quiet, limit));
        let mut assessment = waiting::model(view, pending, self.peer_alive, late);
        if self.draws_turn {
            let frames = "only the frames of a spinner, which are no sign of work";
            assessment.evidence.push(observed("output", frames));
        }
        assessment
    }
}
