//! Suspicion: broad where proof is narrow. What the work needs is progress, what a screen or a runtime does is not, and a
//! harmless wait is named for what it is.

use super::{
    CHILD, MINUTE, ROOT, World, asked, burns, end, event_loop, listener, outsider, parked, process,
    socket_read, target, timer, wakes,
};
use heartbeat::verdict::sample::{
    FileLock, Io, Kind, NAMED_PIPE, Outlet, Outsider, RunState, Socket, SocketKind, Tcp, Until,
    Wait,
};
use heartbeat::verdict::{Input, RuleId, ToolCall};
use heartbeat::wire::beat::Verdict;
use std::time::Duration;

/// A known agent, started with its prompt, whose answer has begun, and its loop.
fn answering() -> World {
    let sources = vec![
        target(5, Kind::Socket(55)),
        target(9, Kind::Internal("eventfd".into())),
    ];
    let mut world = World::new()
        .main_waits(event_loop(sources, timer(900)))
        .with_tcp(Tcp {
            acked: 40_000,
            sent_ago: Duration::from_secs(3),
            received_ago: Duration::from_secs(2),
            received: 1091,
            ..asked()
        });
    let root = world.root();
    (root.agent, root.headless) = (true, true);
    world
}

fn writes(world: &mut World, bytes: u64, calls: u64) {
    let io = world.root().io.as_mut().unwrap();
    (io.written, io.writes) = (io.written + bytes, io.writes + calls);
    wakes(world);
}

fn ages(world: &mut World) {
    let tcp = world.tcp();
    tcp.received_ago += Duration::from_secs(5);
    tcp.sent_ago += Duration::from_secs(5);
}

// --- screens and lines ---

#[test]
fn h_frames_of_any_length_over_a_stream_that_stopped_hide_nothing() {
    for frame in [200, 1000, 4000] {
        let mut world = answering();
        world.root().headless = false;
        world.root().outlet = Outlet::Terminal;
        let world = world.passes(13 * MINUTE, |w| {
            writes(w, 100 * frame, 100);
            ages(w);
        });
        world.is(Verdict::Stalled, 12 * MINUTE, "frames of a spinner");
    }
}

#[test]
fn g_a_screen_that_shows_a_clock_beside_a_connection_at_rest_is_idle() {
    let mut world = answering();
    let root = world.root();
    (root.agent, root.headless, root.outlet) = (false, false, Outlet::Terminal);
    let world = world.passes(120 * MINUTE, |w| {
        writes(w, 25 * 27, 25);
        ages(w);
    });
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Idle);
}

#[test]
fn h_a_screen_that_is_updated_once_a_minute_moves_no_stream() {
    let mut world = answering();
    world.root().outlet = Outlet::Terminal;
    let world = world.passes(12 * MINUTE, |w| {
        if w.seconds() % 60 < 5 {
            writes(w, 2000, 3);
        }
        ages(w);
    });
    world.is(Verdict::Stalled, 11 * MINUTE, "no response from");
}

#[test]
fn h_a_line_of_always_the_same_length_each_second_says_nothing_new() {
    let poll = event_loop(
        vec![target(9, Kind::Internal("eventfd".into()))],
        timer(1000),
    );
    for line in [8, 20, 27] {
        let mut world = World::new().main_waits(poll.clone()).owing();
        // Something else is there, so that nothing is proved.
        world.sample.processes.push(process(CHILD, ROOT, "helper"));
        let world = world.passes(12 * MINUTE, |w| writes(w, 5 * line, 5));
        world.is(Verdict::Stalled, 11 * MINUTE, "nothing has moved");
    }
}

// --- the model's budget ---

#[test]
fn h_a_connection_that_is_closed_and_a_back_off_take_nothing_from_the_models_budget() {
    let mut inode = 55;
    let world = answering().passes(12 * MINUTE, |w| {
        if !w.sample.sockets.is_empty() {
            ages(w);
        }
        // After five minutes the peer closes, the client backs off for ten seconds and asks again.
        match w.seconds() {
            300 => w.sample.sockets.clear(),
            310 => {
                inode += 1;
                let tcp = Tcp {
                    received: 0,
                    ..asked()
                };
                *w = std::mem::replace(w, World::new()).with_tcp(tcp);
                w.sample.sockets[0].inode = inode;
            }
            _ => {}
        }
    });
    let first = world.judgements.iter().find(|(_, j)| j.verdict.is_flag());
    assert!(first.is_none_or(|(at, _)| *at >= 10 * MINUTE), "{first:?}");
}

fn passes_without_socket(world: World, seconds: u64) -> World {
    world.passes(seconds, |w| {
        w.sample.sockets.clear();
        wakes(w);
    })
}

#[test]
fn h_once_asked_the_silence_has_the_models_budget_though_the_connection_is_gone() {
    let world = answering().passes(MINUTE, ages);
    let world = passes_without_socket(world, 8 * MINUTE + 30);
    world.is_never_flagged();
    passes_without_socket(world, 3 * MINUTE).is(Verdict::Stalled, 11 * MINUTE, "nothing has moved");
}

#[test]
fn the_peer_that_is_named_is_the_one_that_was_asked() {
    let mut world = answering();
    let registry = Tcp {
        remote: "198.51.100.7:443".to_owned(),
        acked: 700,
        received: 9000,
        sent_ago: Duration::from_secs(300),
        received_ago: Duration::from_secs(299),
        ..asked()
    };
    let kind = SocketKind::Tcp(Box::new(registry));
    world.sample.sockets.insert(
        0,
        Socket {
            pid: ROOT,
            fd: 4,
            inode: 44,
            kind,
        },
    );
    let world = world.passes(12 * MINUTE, wakes);
    world.is(
        Verdict::Stalled,
        11 * MINUTE,
        "no response from 192.0.2.1:443",
    );
}

#[test]
fn the_silence_that_is_named_is_no_shorter_than_the_one_beside_it() {
    let mut world = answering();
    world.tcp().received_ago = Duration::from_secs(60);
    let world = world.passes(12 * MINUTE, ages);
    let found = world.is(Verdict::Stalled, 11 * MINUTE, "last received");
    let named = found.sentence.split("for ").nth(1).unwrap();
    let named = named.split(" (").next().unwrap();
    let shown = format!("last received {named} ago");
    assert!(found.evidence[0].value.contains(&shown), "{found:?}");
}

// --- what is no work while an answer is due ---

#[test]
fn h_telemetry_beside_a_silent_stream_is_no_answer() {
    let mut world = answering();
    let kind = SocketKind::Tcp(Box::new(Tcp {
        remote: "198.51.100.9:443".to_owned(),
        acked: 900,
        sent_ago: Duration::from_secs(2),
        received_ago: Duration::from_secs(1),
        ..asked()
    }));
    world.sample.sockets.push(Socket {
        pid: ROOT,
        fd: 6,
        inode: 66,
        kind,
    });
    let world = world.passes(12 * MINUTE, |w| {
        ages(w);
        let reports = w.seconds() % 30 < 5;
        if let SocketKind::Tcp(tcp) = &mut w.sample.sockets[1].kind
            && reports
        {
            tcp.acked += 1500;
            tcp.received += 330 + tcp.acked % 7;
            tcp.segments_in += 1;
        }
    });
    world.is(Verdict::Stalled, 11 * MINUTE, "192.0.2.1:443");
}

#[test]
fn h_garbage_collection_beside_a_silent_stream_is_no_work() {
    // Behind a launcher the agent is a child.
    let mut world = answering();
    let mut agent = world.sample.processes[0].clone();
    (agent.pid, agent.parent) = (CHILD, ROOT);
    agent.threads[0].tid = CHILD;
    world.sample.processes.push(agent);
    world.sample.sockets[0].pid = CHILD;
    let world = world.main_waits(Wait::Child(-1)).passes(12 * MINUTE, |w| {
        burns(w, 1, 0.12);
        ages(w);
    });
    world.is(Verdict::Stalled, 11 * MINUTE, "no response from");
}

#[test]
fn h_a_helper_that_ends_and_is_started_again_at_once_is_no_work() {
    let mut pid = 500;
    let world = answering().passes(13 * MINUTE, |w| {
        pid += 1;
        let mut helper = process(pid, ROOT, "mcp-server");
        helper.threads[0].run = Duration::from_millis(1100);
        w.sample.processes.truncate(1);
        w.sample.processes.push(helper);
        w.root().reaped_ticks += 110;
        ages(w);
    });
    world.is(Verdict::Stalled, 12 * MINUTE, "");
}

#[test]
fn g_tools_of_a_turn_that_moves_are_work_whatever_they_are_called() {
    let mut pid = 500;
    let world = answering().passes(60 * MINUTE, |w| {
        pid += 1;
        let mut tool = process(pid, ROOT, "bash");
        tool.command = format!("bash -c step {pid}");
        w.sample.processes.truncate(1);
        w.sample.processes.push(tool);
        ages(w);
    });
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Working);
}

// --- timers ---

#[test]
fn h_a_forgotten_child_that_sleeps_for_a_day_excuses_no_root() {
    let mut world = World::new()
        .main_waits(event_loop(Vec::new(), Until::Never))
        .owing();
    let mut child = process(CHILD, ROOT, "sleep");
    child.threads[0].wait = Some(Wait::Sleep(timer(86_400_000)));
    world.sample.processes.push(child);
    let world = world.still(6 * MINUTE);
    world.is(Verdict::Stalled, 6 * MINUTE, "work is owed");
    assert!(
        world
            .judgements
            .iter()
            .all(|(_, j)| j.verdict != Verdict::Sleeping)
    );
}

#[test]
fn g_a_tool_whose_output_is_awaited_may_sleep() {
    let poll = event_loop(vec![target(3, Kind::Pipe(7))], timer(1000));
    let mut world = World::new().main_waits(poll).owing();
    let mut child = process(CHILD, ROOT, "sleep");
    child.threads[0].wait = Some(Wait::Sleep(timer(3_600_000)));
    world.sample.processes.push(child);
    world.sample.ends = vec![end(ROOT, 3, 7, true), end(CHILD, 1, 7, false)];
    let world = world.passes(50 * MINUTE, wakes);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Sleeping);
}

#[test]
fn h_a_thread_of_the_runtime_that_sleeps_for_a_day_excuses_no_program() {
    let sleeps = Wait::Futex {
        private: true,
        until: timer(86_400_000),
        owner: None,
    };
    let mut world = World::new().with_threads(2, &parked()).owing();
    world.root().threads[2].wait = Some(sleeps);
    world.root().threads[2].name = "Sweeper thread".to_owned();
    let world = world.still(6 * MINUTE);
    world.is(Verdict::Stalled, 6 * MINUTE, "work is owed");
}

#[test]
fn h_a_timer_of_the_loop_beside_a_stream_that_stopped_explains_nothing_and_nothing_flaps() {
    let sources = vec![target(5, Kind::Socket(55))];
    let mut world = answering();
    world.root().threads[0].wait = Some(event_loop(sources, timer(3_600_000)));
    let world = world.passes(60 * MINUTE, ages);
    world.is(Verdict::Stalled, 11 * MINUTE, "no response from");
    let flag = world
        .judgements
        .iter()
        .position(|(_, j)| j.verdict.is_flag());
    let after = &world.judgements[flag.unwrap()..];
    assert!(
        after.iter().all(|(_, j)| j.verdict == Verdict::Stalled),
        "{after:?}"
    );
}

#[test]
fn g_a_minute_of_back_off_after_each_429_is_a_wait_and_no_stall() {
    let mut left = 60_000;
    let world = World::new().owing().passes(60 * MINUTE, |w| {
        left -= 5000;
        if left == 0 {
            left = 60_000;
            wakes(w);
        }
        w.root().threads[0].wait = Some(Wait::Sleep(timer(left)));
    });
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Sleeping);
}

// --- waits for something outside ---

#[test]
fn g_who_asked_for_a_signal_or_for_a_change_of_a_file_waits_for_it_however_long() {
    let inotify = || target(4, Kind::Internal("inotify".into()));
    for wait in [
        Wait::Signal(Until::Never),
        Wait::Read(inotify()),
        event_loop(vec![inotify()], Until::Never),
    ] {
        let world = World::new().main_waits(wait).owing().still(120 * MINUTE);
        let verdict = world.is_never_flagged().verdict();
        assert_eq!(verdict, Verdict::Working);
    }
}

/// A root that owes work and reads from a pipe with a name.
fn reads_orders() -> World {
    let orders = target(3, Kind::Pipe(ORDERS));
    let mut world = World::new().owing().main_waits(Wait::Read(orders));
    world.sample.ends = vec![end(ROOT, 3, ORDERS, true), end(ROOT, 3, ORDERS, false)];
    world
}

const ORDERS: u64 = NAMED_PIPE | 7;

#[test]
fn g_orders_that_come_over_a_pipe_with_a_name_may_come_late() {
    let mut world = reads_orders();
    world.sample.ends.push(end(900, 4, ORDERS, false));
    let world = world.still(120 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Working);
}

#[test]
fn h_a_child_that_alone_writes_into_a_pipe_with_a_name_is_late() {
    let mut world = reads_orders().with_child("helper", parked());
    world.sample.ends.push(end(CHILD, 4, ORDERS, false));
    let world = world.still(20 * MINUTE);
    assert_eq!(world.verdict(), Verdict::Stalled);
}

#[test]
fn g_who_handles_a_signal_may_be_waiting_for_it() {
    let mut world = World::new().with_threads(1, &parked()).owing();
    world.root().caught = Some(1 << 13 | 1 << 1); // SIGALRM
    let world = world.still(60 * MINUTE);
    world.is_never_flagged();
}

#[test]
fn g_an_approval_that_a_loop_awaits_on_its_input_is_a_wait_for_a_person() {
    let poll = event_loop(
        vec![
            target(9, Kind::Internal("eventfd".into())),
            target(0, Kind::Pipe(7)),
        ],
        timer(1000),
    );
    let mut world = World::new().main_waits(poll).owing();
    world.sample.ends = vec![end(9, 4, 7, false)];
    let world = world.passes(60 * MINUTE, |w| writes(w, 5, 5));
    assert_eq!(world.is_never_flagged().verdict(), Verdict::WaitingInput);
}

#[test]
fn g_the_holder_of_a_lock_that_writes_now_and_then_is_at_work() {
    let mut world = World::new().main_waits(Wait::Lock(target(3, Kind::File("/x".into()))));
    world.sample.locks = vec![FileLock {
        holder: Some(9),
        name: "build".into(),
        path: "/x".into(),
        exclusive: true,
        waiter: Some(ROOT),
    }];
    world.sample.outsiders = vec![outsider(9, "build")];
    let world = world.passes(30 * MINUTE, |w| {
        let Outsider { written, .. } = &mut w.sample.outsiders[0];
        *written += 1;
    });
    world.is_never_flagged();
}

/// Each half minute this many bytes are received and acknowledged, in turn; a ping has six.
fn pinged(seen: &[(u64, u64)]) -> World {
    let mut seen = seen.iter().cycle();
    World::new()
        .main_waits(socket_read())
        .with_tcp(asked())
        .passes(120 * MINUTE, |w| {
            ages(w);
            if w.seconds() % 30 < 5 {
                let (received, acked) = seen.next().unwrap();
                w.tcp().acked += acked;
                w.tcp().received += received;
                w.tcp().segments_in += received / 6;
            }
        })
}

#[test]
fn g_an_idle_connection_with_pings_of_its_own_is_polled_and_owes_nothing() {
    pinged(&[(6, 8)]).is_never_flagged();
}

#[test]
fn g_a_ping_whose_reply_falls_behind_a_sample_is_still_a_ping() {
    // Of each ping and its reply: in one sample, in two, or two of each in a late one.
    let seen = [(6, 10), (6, 0), (0, 10), (12, 20), (6, 10), (6, 0), (6, 20)];
    pinged(&seen).is_never_flagged();
}

// --- inputs ---

#[test]
fn h_a_child_whose_input_only_its_waiting_parent_holds_open_is_stalled() {
    let held = |holder: u32, until: u64| {
        let mut world = World::new().with_child("cat", Wait::Read(target(0, Kind::Pipe(7))));
        world.sample.ends = vec![end(holder, 4, 7, false), end(CHILD, 0, 7, true)];
        world.still(until)
    };
    let found = held(ROOT, 6 * MINUTE);
    found.is(
        Verdict::Stalled,
        5 * MINUTE,
        "holds open while it waits for",
    );
    // Anybody outside may still write.
    held(9, 60 * MINUTE).is_never_flagged();
}

#[test]
fn h_a_helper_that_has_the_input_too_hides_no_silent_model() {
    let mut world = World::new().main_waits(socket_read()).with_tcp(asked());
    let mut helper = process(CHILD, ROOT, "cat");
    helper.threads[0].wait = Some(Wait::Read(target(0, Kind::Pipe(7))));
    world.sample.processes.push(helper);
    world.sample.ends = vec![end(9, 4, 7, false)];
    let world = world.still(12 * MINUTE);
    world.is(Verdict::Stalled, 11 * MINUTE, "no response from");
    assert!(
        world
            .judgements
            .iter()
            .all(|(_, j)| j.verdict != Verdict::WaitingInput)
    );
}

#[test]
fn g_a_server_over_standard_input_that_has_answered_is_idle() {
    let mut world = World::new().main_waits(Wait::Read(target(0, Kind::Pipe(7))));
    world.sample.ends = vec![end(9, 4, 7, false)];
    let root = world.root();
    root.outlet = Outlet::Pipe;
    root.io = Some(Io {
        read: 900,
        written: 400,
        ..Io::default()
    });
    let world = world.still(60 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Idle);
}

// --- servers, loops, tracers ---

#[test]
fn h_a_socket_that_nothing_outside_ever_connected_to_makes_no_server() {
    let mut world = answering();
    let kind = SocketKind::Unix {
        listens: true,
        peer: None,
        named: true,
        other: None,
        unread: 0,
    };
    world.sample.sockets.push(Socket {
        pid: ROOT,
        fd: 7,
        inode: 77,
        kind,
    });
    world.root().headless = false;
    // It gets its turns from a program of the tree.
    let mut agent = world.sample.processes[0].clone();
    (agent.pid, agent.parent) = (CHILD, ROOT);
    agent.threads[0].tid = CHILD;
    let sources = vec![target(0, Kind::Pipe(8)), target(5, Kind::Socket(55))];
    agent.threads[0].wait = Some(event_loop(sources, Until::Never));
    for socket in &mut world.sample.sockets {
        socket.pid = CHILD;
    }
    world.sample.processes.push(agent);
    world.sample.ends = vec![end(ROOT, 3, 8, false), end(CHILD, 0, 8, true)];
    world.root().agent = false;
    let world = world
        .main_waits(event_loop(vec![target(4, Kind::Pipe(9))], Until::Never))
        .passes(12 * MINUTE, ages);
    world.is(Verdict::Stalled, 11 * MINUTE, "no response from");
}

#[test]
fn g_a_server_that_was_asked_once_serves() {
    let world = World::new()
        .main_waits(event_loop(vec![target(5, Kind::Socket(55))], timer(29_999)))
        .with_tcp(listener(8080, 0));
    let mut world = world.with_tcp(Tcp {
        local_port: 8080,
        remote: "203.0.113.5:50000".into(),
        ..asked()
    });
    world.sample.sockets[1].inode = 56;
    let world = world.still(60 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Idle);
}

#[test]
fn h_a_child_that_spins_is_spinning() {
    let world = World::new()
        .with_child("python3", Wait::Running)
        .passes(13 * MINUTE, |w| burns(w, 1, 0.99));
    let found = world.is(Verdict::Spinning, 12 * MINUTE, "python3 (101)");
    assert!(found.evidence.iter().any(|e| e.value.contains("99 %")));
    let first = world.judgements.iter().find(|(_, j)| j.verdict.is_flag());
    assert!(first.unwrap().0 >= 10 * MINUTE, "{first:?}");
}

#[test]
fn g_children_that_compute_side_by_side_are_work() {
    let mut world = World::new().with_child("cc", Wait::Running);
    world.sample.processes.push(process(CHILD + 1, ROOT, "cc"));
    let world = world.passes(60 * MINUTE, |w| {
        burns(w, 1, 0.9);
        burns(w, 2, 0.9);
    });
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Working);
}

#[test]
fn h_strace_around_an_agent_pauses_nothing() {
    let mut world = World::new()
        .with_child("agent", socket_read())
        .with_tcp(asked());
    world.sample.sockets[0].pid = CHILD;
    world.sample.processes[1].tracer = Some(ROOT);
    let world = world.passes(12 * MINUTE, |w| {
        // Now and then it is caught at one of its stops.
        let stops = w.seconds() % 20 < 5;
        w.sample.processes[1].state = if stops {
            RunState::Traced
        } else {
            RunState::Sleeping
        };
    });
    world.is(Verdict::Stalled, 11 * MINUTE, "no response from");
    assert!(
        world
            .judgements
            .iter()
            .all(|(_, j)| j.verdict != Verdict::Paused)
    );
}

// --- loops ---

fn call(command: &str) -> ToolCall {
    ToolCall {
        command: command.to_owned(),
        directory: "/repo".to_owned(),
        is_tail: false,
        unseen: 0,
    }
}

/// A known agent whose tools are seen to start, one each two seconds.
fn starting(tool: impl Fn(u64) -> ToolCall, seconds: u64) -> World {
    let mut last = 0;
    answering().passes(seconds, |w| {
        let calls = (last / 2..w.seconds() / 2).map(&tool).collect();
        last = w.seconds();
        w.tcp().received += 300;
        w.tcp().segments_in += 1;
        let now = w.now();
        let found = w.machine.handle(Input::ToolCalls(calls), now);
        let seconds = w.seconds();
        w.judgements.extend(found.map(|j| (seconds, j)));
    })
}

#[test]
fn h_the_same_tool_again_and_again_is_a_loop_whoever_starts_it_though_answers_arrive() {
    let world = starting(|_| call("grep -c nothing a.txt"), 5 * MINUTE);
    let found = world.is(Verdict::Looping, 3 * MINUTE, "grep -c nothing a.txt");
    assert!(found.sentence.contains("limit 20"), "{found:?}");
    assert_eq!(world.verdict(), Verdict::Looping, "it stays so");
}

/// What a shell has become.
fn tail(command: &str) -> ToolCall {
    ToolCall {
        is_tail: true,
        ..call(command)
    }
}

#[test]
fn h_a_shell_that_becomes_its_tool_may_be_seen_as_either() {
    for becomes in [call, tail] {
        let either = |n: u64| match n % 3 {
            0 => call("bash -c ls x"),
            _ => becomes("ls x"),
        };
        starting(either, 5 * MINUTE).is(Verdict::Looping, 3 * MINUTE, "ls x");
    }
}

#[test]
fn g_calls_of_a_shell_that_only_end_alike_are_work() {
    // Most are seen when the shell has become their last program: nearly never whole, each as another one.
    for whole in [5, 30] {
        for becomes in [call, tail] {
            let varies = |n: u64| match n % whole {
                4 => call(&format!("bash -c echo {n}; make")),
                _ => becomes("make"),
            };
            starting(varies, 60 * MINUTE).is_never_flagged();
        }
    }
    starting(|_| tail("make"), 60 * MINUTE).is_never_flagged();
}

#[test]
fn g_one_tool_after_the_other_is_work() {
    let world = starting(|n| call(&format!("cat part {n}")), 60 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Working);
}

#[test]
fn g_the_same_command_in_one_directory_after_the_other_is_work() {
    let elsewhere = |n: u64| ToolCall {
        directory: format!("/repo/{n}"),
        ..call("npm test")
    };
    starting(elsewhere, 60 * MINUTE).is_never_flagged();
}

#[test]
fn h_a_shell_that_goes_elsewhere_is_the_same_call_before_and_after() {
    let goes = |n: u64| {
        let (command, directory) = match n % 3 {
            0 => ("bash -c cd /repo; ls missing", "/"),
            1 => ("bash -c cd /repo; ls missing", "/repo"),
            _ => ("ls missing", "/repo"),
        };
        ToolCall {
            directory: directory.to_owned(),
            ..call(command)
        }
    };
    starting(goes, 5 * MINUTE).is(Verdict::Looping, 3 * MINUTE, "ls missing");
}

#[test]
fn g_a_test_run_after_each_edit_is_no_loop() {
    // Helpers of the agent are too short to be seen.
    for (pause, unseen) in [(30, 0), (10, 9)] {
        let mut last = 0;
        let world = answering().passes(60 * MINUTE, |w| {
            w.tcp().received += 300;
            w.tcp().segments_in += 1;
            if w.seconds() >= last + pause {
                last = w.seconds();
                let test = ToolCall {
                    unseen,
                    ..call("npm test")
                };
                let now = w.now();
                let found = w.machine.handle(Input::ToolCalls(vec![test]), now);
                w.judgements.extend(found.map(|j| (last, j)));
            }
        });
        world.is_never_flagged();
    }
}

/// A program of somebody's own that owes work and starts the same tool again and again.
fn repeating(tool: impl Fn(u64) -> Option<ToolCall>, also: impl Fn(&mut World)) -> World {
    let mut last = 0;
    let world = World::new().main_waits(Wait::Sleep(timer(1000))).owing();
    world.passes(4 * MINUTE, |w| {
        let calls = (last..w.seconds()).filter_map(&tool).collect();
        last = w.seconds();
        let now = w.now();
        let found = w.machine.handle(Input::ToolCalls(calls), now);
        let seconds = w.seconds();
        w.judgements.extend(found.map(|j| (seconds, j)));
        wakes(w);
        also(w);
    })
}

#[test]
fn g_the_same_step_for_one_file_after_the_other_is_no_loop() {
    let steps = |tool: fn(u64) -> String| {
        repeating(
            move |second| Some(call(&tool(second))),
            |w| {
                w.word.repeats += 1;
                w.word.repeated = "lint".to_owned();
                let (word, now, seconds) = (w.word.clone(), w.now(), w.seconds());
                let found = w.machine.handle(Input::SelfReport(word), now);
                w.judgements.extend(found.map(|j| (seconds, j)));
            },
        )
    };
    let loops = |world: World| {
        let mut judgements = world.judgements.iter();
        judgements.any(|(_, j)| j.cause == RuleId::SameReportAgain)
    };
    assert!(!loops(steps(|second| format!("lint file{second}.py"))));
    assert!(loops(steps(|_| "lint file.py".to_owned())));
}

#[test]
fn g_a_program_of_somebodys_own_that_looks_at_a_job_each_second_is_no_loop() {
    let looks = |_| Some(call("kubectl get job"));
    repeating(looks, |_| {}).is_never_flagged();
    // Two of three looks are too short to be seen: they count all the same.
    let short = |n: u64| {
        n.is_multiple_of(3).then(|| ToolCall {
            unseen: 2,
            ..call("pgrep job")
        })
    };
    repeating(short, |_| {}).is_never_flagged();
}

#[test]
fn g_a_pause_between_two_looks_is_no_tool() {
    let pauses = |_| {
        Some(ToolCall {
            unseen: 2,
            ..call("sh -c sleep 0.3")
        })
    };
    repeating(pauses, |_| {}).is_never_flagged();
}

#[test]
fn h_a_call_too_short_to_be_seen_each_time_loops_at_its_true_pace() {
    // Three a second, of which one is seen.
    let short = |_| {
        Some(ToolCall {
            unseen: 2,
            ..call("ls missing")
        })
    };
    let world = repeating(short, |_| {});
    world.is(Verdict::Looping, 3 * MINUTE, "ls missing");
}

#[test]
fn g_one_job_after_the_other_by_the_same_command_is_no_loop() {
    let jobs = |_| {
        Some(ToolCall {
            unseen: 2,
            ..call("./next-job")
        })
    };
    let world = repeating(jobs, |w| {
        let io = w.root().io.as_mut().unwrap();
        io.written += 1 << 20;
        io.disk_written += 1 << 20;
    });
    world.is_never_flagged();
}
