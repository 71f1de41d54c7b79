//! Programs whose threads wait in loops of their own: what a loop can hear of decides whether it can go on.

use super::{
    CHILD, MINUTE, ROOT, World, asked, end, event_loop, listener, parked, prints, process,
    socket_read, target, timer, wakes,
};
use heartbeat::verdict::sample::{
    Gap, GapKind, Kind, RunState, Subject, Target, Tcp, TcpState, Until, Wait, Why,
};
use heartbeat::wire::beat::Verdict;
use std::time::Duration;

fn eventfd() -> Target {
    target(9, Kind::Internal("eventfd".into()))
}

/// The pipe by which it wakes itself.
fn own_pipe(world: &mut World) -> Target {
    world
        .sample
        .ends
        .extend([end(ROOT, 15, 70, true), end(ROOT, 16, 70, false)]);
    target(15, Kind::Pipe(70))
}

fn full(fd: i32, inode: u64) -> Target {
    Target {
        full: true,
        ..target(fd, Kind::Pipe(inode))
    }
}

fn closed() -> Tcp {
    Tcp {
        state: TcpState::CloseWait,
        received: 1,
        ..asked()
    }
}

#[test]
fn h08_who_waits_for_its_own_threads_or_for_a_signal_without_a_handler_notices_no_closed_peer() {
    for wait in [
        event_loop(vec![eventfd()], Until::Never),
        event_loop(Vec::new(), Until::Never),
        Wait::Signal(Until::Never),
    ] {
        let world = World::new().main_waits(wait).with_tcp(closed()).still(70);
        world.is(Verdict::Stalled, MINUTE, "CLOSE-WAIT");
    }
    let mut world = World::new()
        .main_waits(Wait::Signal(Until::Never))
        .with_tcp(closed());
    // It handles a signal of its own.
    world.root().caught = Some(1 << 9);
    world.still(60 * MINUTE).is_never_flagged();
}

#[test]
fn h08_a_loop_that_hears_of_anything_else_may_come_to_the_closed_connection() {
    for (targets, until) in [
        (vec![eventfd(), target(6, Kind::Socket(66))], Until::Never),
        (
            vec![eventfd(), target(7, Kind::Internal("timerfd".into()))],
            Until::Never,
        ),
        (vec![eventfd()], timer(20_000)),
    ] {
        let world = World::new()
            .main_waits(event_loop(targets, until))
            .with_tcp(closed());
        world.still(60 * MINUTE).is_never_flagged();
    }
}

/// A child that writes to the root, whose loop watches this.
fn tool_of_a_loop(targets: impl FnOnce(&mut World) -> Vec<Target>, until: Until) -> World {
    let write = Wait::Write(target(1, Kind::Pipe(7)));
    let mut world = World::new().with_child("tool", write);
    world
        .sample
        .ends
        .extend([end(ROOT, 3, 7, true), end(CHILD, 1, 7, false)]);
    let targets = targets(&mut world);
    world.main_waits(event_loop(targets, until))
}

#[test]
fn h12_a_full_pipe_that_its_readers_loop_does_not_watch_is_a_knot() {
    let world = tool_of_a_loop(|w| vec![eventfd(), own_pipe(w)], Until::Never).still(6 * MINUTE);
    world.is(Verdict::Stalled, 5 * MINUTE, "its pipe is full");
}

#[test]
fn h12_two_that_write_to_each_other_before_they_read_are_a_knot() {
    let world = tool_of_a_loop(
        |w| {
            w.sample
                .ends
                .extend([end(CHILD, 0, 8, true), end(ROOT, 4, 8, false)]);
            vec![full(4, 8)]
        },
        Until::Never,
    );
    let world = world.still(6 * MINUTE);
    world.is(Verdict::Stalled, 5 * MINUTE, "its pipe is full");
}

#[test]
fn h12_a_loop_that_can_still_come_to_reading_is_no_knot() {
    let timed = tool_of_a_loop(|_| vec![eventfd()], timer(20_000));
    let reads = tool_of_a_loop(|_| vec![target(3, Kind::Pipe(7))], Until::Never);
    let client = tool_of_a_loop(|_| vec![target(8, Kind::Socket(88))], Until::Never);
    let mut another = tool_of_a_loop(|_| vec![eventfd()], Until::Never);
    // Its end would be told to the loop.
    let mut sleeper = process(CHILD + 1, ROOT, "sleep");
    sleeper.threads[0].wait = Some(Wait::Sleep(timer(5_000_000)));
    another.sample.processes.push(sleeper);
    for world in [timed, reads, client, another] {
        world.still(60 * MINUTE).is_never_flagged();
    }
}

#[test]
fn h13_a_loop_that_watches_its_input_and_its_own_pipe_waits_for_input() {
    let mut world = World::new();
    let own = own_pipe(&mut world);
    world.sample.ends.push(end(9, 4, 7, false));
    let loops = event_loop(vec![eventfd(), own, target(0, Kind::Pipe(7))], Until::Never);
    let world = world.main_waits(loops).still(10 * MINUTE);
    world.is(Verdict::WaitingInput, 30, "standard input");
    world.is_never_flagged();
}

#[test]
fn h18_a_loop_that_waits_for_room_alone_is_hung_and_one_that_serves_beside_it_is_not() {
    let drains = |w: Vec<Target>| {
        let mut world = World::new().main_waits(event_loop(w, Until::Never));
        world.sample.ends = vec![end(9, 0, 7, true)];
        world
    };
    let world = drains(vec![eventfd(), full(1, 7)]).still(6 * MINUTE);
    world.is(Verdict::Stalled, 5 * MINUTE, "is full");
    let world = drains(vec![full(1, 7), target(8, Kind::Socket(88))]);
    world.still(60 * MINUTE).is_never_flagged();
}

#[test]
fn h25_a_reader_that_alone_could_write_its_answer_waits_for_ever_unless_its_handler_does() {
    let reads = |caught: u64| {
        let mut world = World::new().with_child("mcp", parked());
        world.sample.processes[1].state = RunState::Zombie;
        world.root().caught = Some(caught);
        let own = own_pipe(&mut world);
        world.sample.ends.push(end(ROOT, 5, 8, false));
        world.main_waits(Wait::Read(own))
    };
    reads(0).still(80).is(Verdict::Stalled, 60, "is a zombie");
    reads(1 << 9).still(60 * MINUTE).is_never_flagged();
}

#[test]
fn h26_a_loop_that_waits_for_a_child_alone_looks_at_no_client() {
    let mut world = World::new().with_child("sleep", Wait::Sleep(timer(99_999_000)));
    world
        .sample
        .ends
        .extend([end(ROOT, 3, 7, true), end(CHILD, 1, 7, false)]);
    let world = world
        .with_tcp(listener(8080, 1))
        .main_waits(event_loop(
            vec![eventfd(), target(3, Kind::Pipe(7))],
            Until::Never,
        ))
        .still(150);
    world.is(Verdict::Stalled, 2 * MINUTE, "1 clients wait on port 8080");
}

#[test]
fn g01_a_server_of_one_client_at_a_time_waits_for_its_model_while_the_next_client_waits() {
    let mut world = World::new()
        .main_waits(socket_read())
        .with_tcp(asked())
        .with_tcp(listener(8080, 1));
    world.sample.sockets[1].inode = 56;
    let world = world.still(9 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::WaitingModel);
}

#[test]
fn h33_a_loop_that_wakes_itself_between_its_complaints_hides_no_repetition() {
    let mut looks = 0;
    let world = World::new()
        .main_waits(event_loop(vec![eventfd()], timer(50)))
        .passes(3 * MINUTE, |w| {
            looks += 1;
            prints(w, "529 overloaded, retrying", 60);
            // The file is measured after the counters: a line more now, a line less then.
            if looks % 2 == 0 {
                w.sample.outputs[0].length += 20;
            } else if looks > 1 {
                w.sample.outputs[0].length -= 20;
            }
            let io = w.root().io.as_mut().unwrap();
            io.written += 8 * 3;
            io.writes += 3;
            wakes(w);
        });
    world.is(Verdict::Looping, 2 * MINUTE, "529 overloaded");
}

#[test]
fn g01_a_question_that_went_out_with_the_handshake_is_under_way() {
    let mut world = World::new()
        .main_waits(event_loop(
            vec![eventfd(), target(5, Kind::Socket(55))],
            timer(1000),
        ))
        .with_tcp(Tcp {
            received: 1,
            sent_ago: Duration::from_secs(2),
            ..asked()
        });
    world = world.passes(5 * MINUTE, wakes);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::WaitingModel);
}

#[test]
fn g11_an_idle_worker_with_an_ended_child_and_an_inherited_pipe_is_no_hang() {
    let mut world = World::new()
        .with_child("true", parked())
        .main_waits(parked());
    world.sample.processes[1].state = RunState::Zombie;
    // The other side is held by somebody outside.
    world.sample.ends = vec![end(ROOT, 0, 7, true), end(9, 4, 7, false)];
    world.still(60 * MINUTE).is_never_flagged();
    let mut world = World::new()
        .with_child("true", parked())
        .main_waits(parked());
    world.sample.processes[1].state = RunState::Zombie;
    world.sample.ends = vec![end(ROOT, 0, 7, true)];
    world.sample.gaps.push(Gap {
        subject: Subject::Machine,
        what: GapKind::Holders,
        why: Why::Denied,
    });
    world.still(60 * MINUTE).is_never_flagged();
}
