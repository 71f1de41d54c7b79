//! `GET /agents/{id}`: one agent: what is the matter, what shows it, what happens next, and what is known of its process.

use super::Shown;
use super::drawings;
use super::forms::Acting;
use super::incidents;
use super::layout::{self, Frame, Here};
use super::moves;
use super::parts::{self, Shape};
use super::timeline::{self, Story};
use super::tree;
use crate::bus::timelines::Place;
use heartbeat::base::duration::format_duration;
use heartbeat::base::figure;
use heartbeat::base::id::AgentId;
use heartbeat::fleet::agent::{Agent, State};
use heartbeat::fleet::card::Card;
use heartbeat::fleet::history::Curve;
use heartbeat::wire::activity::{Activity, Source};
use heartbeat::wire::incident::Incident;
use heartbeat::wire::life::End;
use heartbeat::wire::notice::Notice;
use maud::{Markup, html};

/// Incidents of one agent that are listed.
const INCIDENTS: usize = 20;

/// What is shown beside the snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside<'a> {
    /// Its timeline.
    pub(super) story: &'a Story,
    /// Where the timeline begins, if not with the newest entry.
    pub(super) before: Option<&'a Place>,
    /// Its history, if it was sampled.
    pub(super) curve: Option<&'a Curve>,
}

/// The page.
pub(super) fn page(
    shown: &Shown<'_>,
    id: &AgentId,
    agent: &Agent,
    reloads: bool,
    acting: Acting,
    beside: Beside<'_>,
) -> Markup {
    let Shown { snapshot, at } = *shown;
    let card = Card::of(id, agent, snapshot, at);
    let glyph = card.word.glyph().0;
    let frame = Frame {
        here: Here::Fleet,
        root: "../",
        title: format!("{glyph} {id} {} · hb", card.word.text()),
        tone: card.word.tone(),
        reloads,
        snapshot,
        at,
    };
    let view = AgentPage {
        shown,
        card,
        agent,
        acting,
        beside,
    };
    layout::page(&frame, &view.render())
}

struct AgentPage<'a> {
    shown: &'a Shown<'a>,
    card: Card<'a>,
    agent: &'a Agent,
    acting: Acting,
    beside: Beside<'a>,
}

impl AgentPage<'_> {
    fn render(&self) -> Markup {
        let card = &self.card;
        let tone = card.word.tone().class();
        let stale = layout::blind(self.shown.snapshot).map(|_| "stale");
        html! {
            p.crumb {
                a href="../" { "Fleet" }
                @if let Some(host) = card.health.host { " / " (parts::foreign(host)) }
                " / " (card.id)
            }
            div class=[stale] {
                div class={ "hero " (tone) } {
                    section.panel.verdict aria-labelledby="h" {
                        h1 #h {
                            (parts::icon(parts::word_icon(card.word))) (card.id) " "
                            span { (card.word.text()) @if let Some(why) = card.why { ": " (why) } }
                        }
                        (self.story())
                        (self.rungs())
                    }
                    (self.facts())
                }
                (moves::render(card, self.agent, self.notice(), self.acting, self.shown.at))
                @if let Some(curve) = self.beside.curve { (drawings::charts(curve)) }
                div.two {
                    div { (timeline::section(self.beside.story, self.beside.before, self.shown.at)) (self.evidence()) }
                    div { (self.tree()) (self.work()) (self.incarnations()) }
                }
                (self.incidents())
            }
        }
    }

    fn notice(&self) -> Option<&Notice> {
        let notices = &self.shown.snapshot.watch.notices.open;
        notices.get(self.card.id).map(|notice| &**notice)
    }

    fn story(&self) -> Markup {
        let (card, at) = (&self.card, self.shown.at);
        html! {
            dl.story {
                dt { "What" } dd { (parts::sentence(&card.health.sentence)) }
                dt { "Since" } dd {
                    (parts::time(card.since_ms, Shape::Clock, at)) ", "
                    b { (parts::time(card.since_ms, Shape::Long, at)) }
                    "."
                }
                @if let Some(activity) = self.activity().filter(|activity| !activity.evidence.is_empty()) {
                    dt { "Evidence" } dd { (evidence_line(&activity)) " " a.l href="#evidence" { "All of it" } }
                }
                dt { "Next" } dd { (parts::sentence(card.health.next.as_deref().unwrap_or(self.nothing()))) }
            }
        }
    }

    /// What happens next when nothing does.
    fn nothing(&self) -> &'static str {
        match self.card.health.state {
            State::Healthy => "Nothing is due.",
            State::Stopped => "It stays stopped until it is started again.",
            State::Missing | State::Failed => "Nothing by itself.",
        }
    }

    /// The steps of recovery, of an agent with an incident.
    fn rungs(&self) -> Markup {
        let at = self.shown.at;
        let incident = self.card.incident;
        let rungs: Vec<_> =
            incident.map_or_else(Vec::new, |open| open.rungs_of(self.card.id).collect());
        html! {
            @if !rungs.is_empty() {
                ol.rungs aria-label="Recovery ladder" {
                    @for (place, rung) in rungs.iter().enumerate() {
                        @let (tone, icon) = incidents::rung_look(rung);
                        li class=(tone.class()) aria-current=[rung.ended_at.is_none().then_some("step")] {
                            (parts::icon(icon)) b { (place + 1) " " (parts::foreign(&rung.rung)) }
                            small { (parts::time(rung.started_at, Shape::Clock, at)) (incidents::rung_outcome(rung)) }
                        }
                    }
                }
            }
        }
    }

    fn facts(&self) -> Markup {
        let (card, at) = (&self.card, self.shown.at);
        let (health, run) = (&card.health, &self.agent.run);
        let sequence = run.beat.as_ref().map(|beat| beat.sequence);
        html! {
            aside.panel.body aria-label="Facts" {
                dl.kv {
                    dt { "Type" } dd { (parts::foreign(health.agent_type)) }
                    @if let Some(host) = health.host { dt { "Host" } dd { (parts::foreign(host)) } }
                    @if let Some(runtime) = health.runtime.filter(|runtime| runtime.kind != "unknown") {
                        dt { "Runtime" } dd {
                            (parts::foreign(runtime.kind)) " "
                            @if !runtime.id.is_empty() { code { (parts::foreign(short_id(runtime.id))) } }
                        }
                    }
                    dt { "Process" } dd {
                        @match health.pid { Some(pid) => { (pid) } None => { "none now" } }
                    }
                    @if health.uptime_seconds > 0 {
                        dt { "Up" } dd { (parts::figure(&format_duration(std::time::Duration::from_secs(health.uptime_seconds)))) }
                    }
                    @if health.epoch > 0 { dt { "Epoch" } dd { (health.epoch) } }
                    dt { "Incarnation" } dd { (health.restarts + 1) }
                    @if let Some(status) = health.status {
                        dt { "Status" } dd { (heartbeat::wire::word(&status)) }
                    }
                    @if let Some(version) = health.hb_version { dt { "Sidecar" } dd { "hbsidecar " (version) } }
                    dt { "Last beat" } dd {
                        @match card.beat_ms {
                            Some(beat) => { (parts::time(beat, Shape::Ago, at)) }
                            None => { "none yet" }
                        }
                        @if let Some(sequence) = sequence { ", #" (figure::count(sequence)) }
                    }
                    dt { "Interval" } dd {
                        (parts::figure(&format_duration(run.detector.interval())))
                        @if health.missed_beats > 0 { ", missed " (health.missed_beats) }
                    }
                    @if let Some(alive) = drawings::alive_text(self.beside.curve) { dt { "Alive, 24 h" } dd { (alive) } }
                }
                (drawings::alive_bar(self.beside.curve))
                p.facts {
                    a href={ "../health/agents/" (card.id) } { "JSON" }
                }
            }
        }
    }

    /// What it does, or did last.
    fn work(&self) -> Markup {
        let health = &self.card.health;
        let (task, done, figures, title) = match health.state {
            State::Healthy | State::Missing => (
                health.current_task,
                health.task_progress,
                health.metrics,
                "Work",
            ),
            State::Failed | State::Stopped => (
                health.current_task.or(health.last_task),
                health.task_progress.or(health.last_task_progress),
                health.last_metrics.or(health.metrics),
                "Work, as last reported",
            ),
        };
        html! {
            section aria-labelledby="work" {
                div.bar { h2 #work { (title) } }
                div.panel.body {
                    dl.kv {
                        dt { "Task" } dd {
                            @match task { Some(task) => { bdi { (parts::sentence(task)) } } None => { "none reported" } }
                        }
                        @if let Some(done) = done { dt { "Progress" } dd { (parts::figure(&format!("{done:.0} %"))) } }
                        @if let Some(text) = health.status_text { dt { "Status text" } dd { bdi { (parts::sentence(text)) } } }
                        @if let Some(of) = figures {
                            dt { "CPU" } dd { (parts::figure(&figure::percent(of.cpu_percent))) }
                            dt { "Memory" } dd { (parts::figure(&figure::megabytes(of.memory_mb))) }
                            dt { "Active tasks" } dd { (figure::count(of.active_tasks)) }
                            dt { "Queue" } dd { (figure::count(of.queue_depth)) }
                            dt { "Tokens this hour" } dd { (figure::count(of.tokens_used_this_hour)) }
                            dt { "Errors in 5 min" } dd { (figure::count(of.errors_last_5_min)) }
                        }
                    }
                }
            }
        }
    }

    fn evidence(&self) -> Markup {
        let activity = self.activity();
        let of_incident = self.card.incident.map(|open| open.evidence.clone());
        let evidence = match activity {
            Some(activity) if !activity.evidence.is_empty() => activity.evidence,
            Some(_) | None => of_incident.unwrap_or_default(),
        };
        html! {
            @if !evidence.is_empty() {
                section aria-labelledby="evidence" {
                    div.bar { h2 #evidence { "Evidence" } small { "what was sampled or reported" } }
                    div.panel.scroll role="group" tabindex="0" aria-label="Evidence" {
                        table {
                            thead { tr { th scope="col" { "Signal" } th scope="col" { "Value" } th.c2 scope="col" { "Source" } } }
                            tbody {
                                @for one in &evidence {
                                    tr {
                                        th scope="row" { code { (parts::foreign(&one.signal)) } }
                                        td { bdi { (parts::sentence(&one.value)) } }
                                        td.c2 { (source_text(one.source)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Its processes as they were captured last.
    fn tree(&self) -> Markup {
        let captured = self.beside.story.captured();
        html! { @if let Some(captured) = captured { (tree::section(captured, self.shown.at)) } }
    }

    fn incarnations(&self) -> Markup {
        let (at, run) = (self.shown.at, &self.agent.run);
        let now = self.card.health.restarts;
        let started = run
            .beat
            .as_ref()
            .and_then(|beat| beat.hb)
            .map(|hb| hb.started_at_ms);
        let runs = run.life.has_process();
        let end = run.life.end.as_ref();
        html! {
            section aria-labelledby="inc" {
                div.bar { h2 #inc { "Incarnations" } small { "the present or last one, and the last end" } }
                div.panel.scroll role="group" tabindex="0" aria-label="Incarnations" {
                    table {
                        thead { tr { th.n scope="col" { "#" } th scope="col" { "Started" } th scope="col" { "Ended" } } }
                        tbody {
                            @if runs {
                                tr {
                                    td.n { (now + 1) }
                                    td { @if let Some(started) = started { (parts::time(started, Shape::Clock, at)) } @else { "not reported" } }
                                    td { "runs" }
                                }
                            }
                            @if let Some(end) = end {
                                tr {
                                    td.n { (end.incarnation + 1) }
                                    td { @if !runs && let Some(started) = started { (parts::time(started, Shape::Clock, at)) } @else { "–" } }
                                    td { (end_text(end)) }
                                }
                            }
                            @if !runs && end.is_none() { tr { td.n { "–" } td { "–" } td { "no process was reported" } } }
                        }
                    }
                }
            }
        }
    }

    fn incidents(&self) -> Markup {
        let all = &self.shown.snapshot.watch.incidents;
        let closed = all.closed.values().rev();
        let of_agent = closed.filter(|incident| incident.agents.contains(self.card.id));
        let closed: Vec<&Incident> = of_agent.take(INCIDENTS).map(AsRef::as_ref).collect();
        let listed: Vec<&Incident> = self.card.incident.into_iter().chain(closed).collect();
        html! {
            @if !listed.is_empty() {
                section aria-labelledby="incidents" {
                    div.bar { h2 #incidents { "Incidents" } small { "the last 7 days, newest first" } }
                    (incidents::table(&listed, "../", self.shown.at))
                }
            }
        }
    }

    fn activity(&self) -> Option<Activity> {
        self.card.health.activity.as_ref()?.decode()
    }
}

fn evidence_line(activity: &Activity) -> String {
    let first = activity.evidence.iter().take(3);
    let listed: Vec<String> = first
        .map(|one| {
            format!(
                "{} {}",
                parts::foreign(&one.signal),
                parts::foreign(&one.value)
            )
        })
        .collect();
    format!("{}.", listed.join("; "))
}

fn source_text(source: Source) -> &'static str {
    match source {
        Source::Reported => "reported",
        Source::Observed => "observed",
    }
}

fn end_text(end: &End) -> String {
    let exit = match (end.exit.code, end.exit.signal) {
        _ if end.not_started => "could not be started".to_owned(),
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "code not known".to_owned(),
    };
    match end.reason {
        Some(reason) => format!("{exit}: {}", heartbeat::fleet::word::reason_text(reason)),
        None if end.requested => format!("{exit}: asked for"),
        None => exit,
    }
}

/// The first characters of a container's id.
fn short_id(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
