//! Agents that say nothing of themselves, as the kernel shows Claude Code, Codex and other programs with an event loop.

use super::{CHILD, MINUTE, ROOT, World, asked, burns, event_loop, process, target, timer, wakes};
use heartbeat::verdict::Fix;
use heartbeat::verdict::sample::{Kind, Tcp, Until, Wait};
use heartbeat::wire::beat::Verdict;
use heartbeat::wire::declared_state::DeclaredState;
use std::time::Duration;

/// An event loop that ticks, with an idle pool and telemetry beside it and a connection on which an answer has begun.
fn streaming() -> World {
    let sources = vec![
        target(5, Kind::Socket(55)),
        target(9, Kind::Internal("eventfd".into())),
    ];
    let mut world = World::new()
        .main_waits(event_loop(sources, timer(900)))
        .with_tcp(Tcp {
            sent_ago: Duration::from_secs(3),
            received_ago: Duration::from_secs(2),
            received: 1091,
            ..asked()
        });
    for millis in [10_000, 60_000] {
        world = world.with_threads(1, &waits_on_a_condition(millis));
    }
    world
}

fn waits_on_a_condition(millis: u64) -> Wait {
    Wait::Futex {
        private: true,
        until: timer(millis),
        owner: None,
    }
}

fn in_batch(mut world: World) -> World {
    world.root().headless = true;
    world
}

/// What the runtime does though nothing happens: a look at its own memory each second, threads that wake each other.
fn breathes(world: &mut World) {
    let io = world.root().io.as_mut().unwrap();
    (io.read, io.reads) = (io.read + 440, io.reads + 18);
    (io.written, io.writes) = (io.written + 40, io.writes + 5);
    wakes(world);
}

/// The connection stays silent, in both directions.
fn ages(world: &mut World) {
    let tcp = world.tcp();
    tcp.received_ago += Duration::from_secs(5);
    tcp.sent_ago += Duration::from_secs(5);
}

/// The frames of a spinner beside a counter of seconds: of nearly equal length.
fn draws(world: &mut World) {
    breathes(world);
    let uneven = world.seconds() % 3;
    let io = world.root().io.as_mut().unwrap();
    (io.written, io.writes) = (io.written + 1500 + 40 * uneven, io.writes + 38 + uneven);
}

#[test]
fn h02_an_answer_that_stops_half_way_to_an_agent_started_with_its_prompt_is_stalled() {
    let world = in_batch(streaming()).passes(12 * MINUTE, breathes);
    let found = world.is(Verdict::Stalled, 11 * MINUTE, "no response from");
    assert_eq!(found.fix, Fix::None, "somebody is told and nothing is done");
    let early = world.judgements.iter().find(|(_, j)| j.verdict.is_flag());
    assert!(early.unwrap().0 >= 10 * MINUTE, "{early:?}");
}

#[test]
fn h05_a_spinner_over_an_answer_that_stopped_half_way_is_stalled() {
    let world = streaming().passes(13 * MINUTE, draws);
    world.is(Verdict::Stalled, 12 * MINUTE, "frames of a spinner");
}

#[test]
fn h06_an_agent_started_with_its_prompt_that_waits_for_nothing_is_stalled() {
    let poll = event_loop(
        vec![target(9, Kind::Internal("eventfd".into()))],
        timer(900),
    );
    let world = in_batch(World::new().main_waits(poll)).passes(6 * MINUTE, wakes);
    world.is(Verdict::Stalled, 6 * MINUTE, "one piece of work");
}

#[test]
fn g_an_agent_at_its_prompt_is_idle_whatever_its_runtime_does() {
    let world = streaming().passes(600 * MINUTE, breathes);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Idle);
}

#[test]
fn g_the_frames_of_a_turn_that_moves_are_work() {
    let world = streaming().passes(60 * MINUTE, |w| {
        draws(w);
        w.tcp().received += 900;
        w.tcp().segments_in += 3;
    });
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Working);
}

#[test]
fn g_a_turn_that_ends_after_nine_minutes_of_thinking_is_no_flag_and_neither_is_what_follows() {
    let world = streaming().passes(9 * MINUTE, draws);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::WaitingModel);
    let world = world.passes(60 * MINUTE, breathes);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Idle);
}

#[test]
fn g_a_tool_that_sleeps_under_an_agent_started_with_its_prompt_is_asleep() {
    let mut world = in_batch(streaming());
    let mut child = process(CHILD, ROOT, "sleep");
    child.started = world.now().as_millis() / 10;
    child.threads[0].wait = Some(Wait::Sleep(timer(3_600_000)));
    world.sample.processes.push(child);
    let world = world.passes(50 * MINUTE, |w| {
        breathes(w);
        ages(w);
    });
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Sleeping);
}

#[test]
fn g_an_agent_started_with_its_prompt_that_says_it_has_nothing_to_do_owes_nothing() {
    let world = in_batch(streaming()).saying(|word| word.state = Some(DeclaredState::Idle));
    world.passes(60 * MINUTE, breathes).is_never_flagged();
}

#[test]
fn g_a_computation_that_draws_its_progress_is_work_and_never_spins() {
    let world = World::new()
        .main_waits(Wait::Running)
        .passes(60 * MINUTE, |w| {
            burns(w, 0, 0.95);
            let io = w.root().io.as_mut().unwrap();
            (io.written, io.writes) = (io.written + 50 * 78, io.writes + 50);
        });
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Working);
}

#[test]
fn g_lines_of_many_lengths_are_output_and_eight_bytes_are_no_wake_up_where_no_thread_wakes_another()
{
    let world = World::new()
        .main_waits(Wait::Sleep(timer(1000)))
        .owing()
        .passes(60 * MINUTE, |w| {
            let uneven = w.seconds() / 5 % 3;
            let io = w.root().io.as_mut().unwrap();
            (io.written, io.writes) = (io.written + 40 + uneven, io.writes + 5);
            wakes(w);
        });
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Working);
}

#[test]
fn a_tool_that_does_not_move_is_what_an_agent_waits_for_and_not_its_model() {
    let mut world = in_batch(streaming());
    let mut child = process(CHILD, ROOT, "ssh");
    child.started = world.now().as_millis() / 10;
    world.sample.processes.push(child);
    let world = world.passes(12 * MINUTE, |w| {
        breathes(w);
        ages(w);
    });
    let found = world.is(Verdict::Stalled, 11 * MINUTE, "waits for ssh");
    assert_eq!(found.fix, Fix::None);
}

#[test]
fn a_server_of_tools_that_was_there_before_the_question_is_no_tool() {
    let mut world = in_batch(streaming());
    world.sample.processes.push(process(CHILD, ROOT, "mcp"));
    let world = world.passes(12 * MINUTE, |w| {
        breathes(w);
        ages(w);
    });
    world.is(Verdict::Stalled, 11 * MINUTE, "no response from");
}

#[test]
fn a_thread_for_the_keys_of_a_full_screen_waits_for_no_person_while_another_waits_for_the_model() {
    let keys = || {
        let own = target(9, Kind::Internal("eventfd".into()));
        let terminal = target(0, Kind::Terminal("/dev/pts/1".into()));
        event_loop(vec![own, terminal], Until::Never)
    };
    let world = streaming().with_threads(1, &keys());
    let world = world.passes(9 * MINUTE, draws);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::WaitingModel);
    let between = World::new().main_waits(Wait::Running);
    let between = between.with_threads(1, &keys()).still(MINUTE);
    assert_ne!(between.verdict(), Verdict::WaitingInput);
    let alone = World::new().with_threads(1, &keys()).still(MINUTE);
    alone.is(Verdict::WaitingInput, 30, "/dev/pts/1");
}
