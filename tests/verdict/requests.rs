//! What is asked of whom: connections, questions to stores, tools that serve.

use super::{
    CHILD, MINUTE, ROOT, World, asked, end, event_loop, listener, parked, process, socket_read,
    target, timer, wakes,
};
use heartbeat::verdict::Settings;
use heartbeat::verdict::sample::{
    Channel, End, GO_THREAD, Kind, Outlet, RunState, Socket, SocketKind, Tcp, TcpState, Thread,
    Until, Wait,
};
use heartbeat::wire::beat::Verdict;
use std::time::Duration;

fn add(world: &mut World, pid: u32, inode: u64, tcp: Tcp) {
    let fd = i32::try_from(inode).unwrap();
    let kind = SocketKind::Tcp(Box::new(tcp));
    world.sample.sockets.push(Socket {
        pid,
        fd,
        inode,
        kind,
    });
}

/// An agent in a read of the output of its child, which listens for clients too.
fn collects_from_a_server(wait: Wait) -> World {
    let mut world = World::new().owing().with_child("mcp-server", wait);
    world.sample.ends = vec![end(ROOT, 3, 7, true), end(CHILD, 1, 7, false)];
    add(&mut world, CHILD, 99, listener(3000, 0));
    world.main_waits(Wait::Read(target(3, Kind::Pipe(7))))
}

fn clients() -> Wait {
    event_loop(vec![target(99, Kind::Socket(99))], Until::Never)
}

#[test]
fn h_a_tool_that_only_waits_for_clients_has_become_a_server() {
    let world = collects_from_a_server(clients()).still(6 * MINUTE);
    world.is(Verdict::Stalled, 5 * MINUTE, "is a server");
}

#[test]
fn g_a_tool_that_also_listens_may_ask_a_model_or_run_a_command() {
    let mut asks = collects_from_a_server(clients());
    add(&mut asks, CHILD, 55, asked());
    asks.still(9 * MINUTE).is_never_flagged();

    let mut runs = collects_from_a_server(Wait::Child(-1));
    let mut command = process(CHILD + 1, CHILD, "sleep");
    command.threads[0].wait = Some(Wait::Sleep(timer(1_200_000)));
    runs.sample.processes.push(command);
    runs.still(9 * MINUTE).is_never_flagged();
}

#[test]
fn g_a_server_that_owes_nothing_is_not_stuck_because_its_telemetry_is() {
    let request = Tcp {
        state: TcpState::SynSent,
        retransmits: 5,
        ..asked()
    };
    let in_a_helper = || {
        let mut world = World::new().main_waits(clients());
        add(&mut world, ROOT, 99, listener(8080, 0));
        add(&mut world, ROOT, 55, request.clone());
        world.root().threads.push(Thread {
            tid: ROOT + 1,
            wait: Some(Wait::Connect(target(55, Kind::Socket(55)))),
            ..Thread::default()
        });
        world.root().thread_count = 2;
        world
    };
    in_a_helper().still(10 * MINUTE).is_never_flagged();
    let owes = in_a_helper().owing().still(2 * MINUTE);
    owes.is(Verdict::Stalled, MINUTE, "SYN-SENT");
}

#[test]
fn g_an_end_that_was_announced_may_wait_for_the_last_answer() {
    let ends = |world: World| world.saying(|word| word.stopping = true).still(3 * MINUTE);
    let world = World::new().main_waits(socket_read()).with_tcp(asked());
    ends(world).is_never_flagged();
    let world = World::new().main_waits(event_loop(Vec::new(), Until::Never));
    ends(world).is(Verdict::Stalled, 30, "stopping");
}

#[test]
fn a_question_to_a_database_or_by_datagrams_has_the_time_that_an_answer_may_take() {
    let query = World::new()
        .owing()
        .main_waits(socket_read())
        .with_tcp(Tcp {
            remote_port: 5432,
            ..asked()
        });
    let mut datagram = World::new().owing().main_waits(socket_read());
    datagram.sample.sockets.push(Socket {
        pid: ROOT,
        fd: 5,
        inode: 55,
        kind: SocketKind::Other,
    });
    for world in [query, datagram] {
        let world = world.still(9 * MINUTE);
        world.is_never_flagged();
        let world = world.still(3 * MINUTE);
        world.is(Verdict::Stalled, 11 * MINUTE, "work is owed");
    }
}

/// An agent that plays a terminal: a shell runs there and waits for a command.
fn plays_a_terminal() -> World {
    let master = target(5, Kind::File("/dev/ptmx".into()));
    let mut world = World::new()
        .owing()
        .with_child("bash", Wait::Child(-1))
        .main_waits(event_loop(vec![master], Until::Never));
    let mut command = process(CHILD + 1, CHILD, "sleep");
    command.threads[0].wait = Some(Wait::Sleep(timer(1_200_000)));
    world.sample.processes.push(command);
    for process in &mut world.sample.processes[1..] {
        process.terminal = Some(4);
    }
    world.sample.ends = vec![End {
        pid: ROOT,
        fd: 5,
        of: Channel::Terminal("/dev/pts/4".into()),
        reads: true,
        writes: true,
    }];
    world
}

#[test]
fn g_a_command_that_sleeps_on_a_terminal_that_the_agent_plays_is_awaited() {
    let world = plays_a_terminal().still(15 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Sleeping);
}

#[test]
fn h_a_command_that_sleeps_on_another_terminal_excuses_nothing() {
    let mut world = plays_a_terminal();
    world.sample.processes[1].terminal = Some(9);
    world.sample.processes[2].terminal = Some(9);
    let world = world.still(15 * MINUTE);
    world.is(Verdict::Stalled, 6 * MINUTE, "work is owed");
}

#[test]
fn g_a_back_off_of_minutes_in_an_event_loop_is_no_stall() {
    let mut slept = 0;
    let mut world = World::new().owing();
    let loops = |millis| {
        event_loop(
            vec![target(9, Kind::Internal("eventfd".into()))],
            timer(millis),
        )
    };
    world.root().threads[0].wait = Some(loops(256_000));
    let world = world.passes(25 * MINUTE, |w| {
        slept = (slept + 5) % 256;
        if slept < 5 {
            wakes(w);
        }
        w.root().threads[0].wait = Some(loops(256_000 - 1000 * slept));
    });
    world.is_never_flagged();
}

#[test]
fn g_keys_that_are_read_beside_a_tool_or_a_pause_are_not_waited_for() {
    let reads_keys = |main: Wait| {
        let mut world = World::new()
            .owing()
            .with_child("sleep", Wait::Sleep(timer(1_200_000)));
        world.root().threads.push(Thread {
            tid: ROOT + 1,
            wait: Some(Wait::Read(target(0, Kind::Pipe(7)))),
            ..Thread::default()
        });
        world.root().thread_count = 2;
        world.sample.ends = vec![end(9, 4, 7, false)];
        world.main_waits(main).still(4 * MINUTE).verdict()
    };
    assert_eq!(reads_keys(Wait::Child(-1)), Verdict::Sleeping);
    assert_eq!(reads_keys(Wait::Sleep(timer(900_000))), Verdict::Sleeping);
    assert_eq!(reads_keys(Wait::Sleep(timer(200))), Verdict::WaitingInput);
}

/// An event loop that is informed of the end of its children, one of which sleeps.
fn loops_over_children(fed: bool, outlet: Outlet) -> World {
    let own = target(9, Kind::Internal("eventfd".into()));
    let mut world = World::new()
        .owing()
        .with_child("sleep", Wait::Sleep(timer(1_200_000)))
        .main_waits(event_loop(vec![own], Until::Never));
    world.root().caught = Some(1 << 16);
    let inputs = [end(ROOT, 3, 8, false), end(CHILD, 0, 8, true)];
    world.sample.ends = inputs.into_iter().filter(|_| fed).collect();
    world.root().outlet = Outlet::Pipe;
    world.sample.processes[1].outlet = outlet;
    world
}

#[test]
fn g_a_sleeping_command_may_be_awaited_by_the_signal_of_its_end() {
    let world = loops_over_children(false, Outlet::Pipe).still(15 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Sleeping);
}

#[test]
fn h_a_server_that_is_fed_over_its_input_excuses_nothing_by_its_timer() {
    let world = loops_over_children(true, Outlet::Pipe).still(15 * MINUTE);
    world.is(Verdict::Stalled, 6 * MINUTE, "work is owed");
    let put_aside = loops_over_children(false, Outlet::Other).still(15 * MINUTE);
    put_aside.is(Verdict::Stalled, 6 * MINUTE, "work is owed");
}

/// Each quarter of a minute a thread reports some figures over a connection that it keeps.
fn reports_figures(main: Wait) -> World {
    let mut seconds = 0;
    let idle = Tcp {
        sent_ago: Duration::from_secs(2),
        ..asked()
    };
    let world = World::new()
        .owing()
        .with_threads(1, &Wait::Sleep(timer(15_000)));
    world
        .with_tcp(idle)
        .main_waits(main)
        .passes(15 * MINUTE, |w| {
            seconds += 5;
            if seconds % 15 == 0 {
                let tcp = w.tcp();
                (tcp.acked, tcp.received) = (tcp.acked + 950, tcp.received + 110);
                tcp.segments_in += 2;
                w.root().threads[1].turns += 1;
            }
        })
}

#[test]
fn h_telemetry_over_a_deadlock_hides_nothing() {
    reports_figures(parked()).is(Verdict::Stalled, 12 * MINUTE, "192.0.2.1");
}

#[test]
fn g_a_first_thread_that_reports_by_itself_is_at_work() {
    reports_figures(Wait::Sleep(timer(15_000))).is_never_flagged();
}

#[test]
fn h_heartbeats_that_say_where_the_work_stands_are_pings() {
    let world = World::new()
        .owing()
        .main_waits(socket_read())
        .with_tcp(asked())
        .passes(20 * MINUTE, |w| {
            let tcp = w.tcp();
            (tcp.received, tcp.segments_in) = (tcp.received + 161, tcp.segments_in + 1);
        });
    world.is(Verdict::Stalled, 16 * MINUTE, "only small equal pieces");
}

#[test]
fn g_a_daemon_that_a_tool_started_may_serve_the_one_that_waits_for_it() {
    let mut world =
        World::new().main_waits(event_loop(vec![target(5, Kind::Socket(55))], Until::Never));
    let unix = |pid, inode, listens, other| Socket {
        pid,
        fd: 5,
        inode,
        kind: SocketKind::Unix {
            listens,
            peer: Some(CHILD),
            named: listens,
            other,
            unread: 0,
        },
    };
    world.sample.sockets = vec![
        unix(ROOT, 55, false, Some(56)),
        unix(CHILD, 56, false, Some(55)),
        unix(CHILD, 57, true, None),
    ];
    let mut daemon = process(CHILD, 1, "tmux: server");
    daemon.orphan = true;
    world.sample.processes.push(daemon);
    world.sample.ends = vec![End {
        pid: CHILD,
        fd: 5,
        of: Channel::Socket(56),
        reads: true,
        writes: true,
    }];
    world.still(30 * MINUTE).is_never_flagged();
}

#[test]
fn h_a_line_that_is_repeated_is_one_however_it_falls_between_the_samples() {
    // Every ten seconds, just before a sample or just after it.
    let mut n = 0;
    let world = World::new()
        .owing()
        .main_waits(Wait::Sleep(timer(2000)))
        .passes(20 * MINUTE, |w| {
            n += 1;
            if [0, 3, 4, 7, 8, 11].contains(&(n % 12)) {
                let io = w.root().io.as_mut().unwrap();
                (io.written, io.writes) = (io.written + 21, io.writes + 1);
                wakes(w);
            }
        });
    world.is(Verdict::Stalled, 13 * MINUTE, "work is owed");
}

#[test]
fn h_a_monitor_of_the_runtime_excuses_nothing_at_any_patience() {
    let impatient = Settings {
        patience: "0.1".parse().unwrap(),
        ..Settings::default()
    };
    let waits = Wait::Futex {
        private: true,
        until: timer(59_000),
        owner: None,
    };
    let mut world = World::with(impatient).owing().with_threads(1, &waits);
    world.root().threads[1].name = GO_THREAD.to_owned();
    world.still(50).is(Verdict::Stalled, 40, "");
}

#[test]
fn g_a_child_of_vfork_may_work_before_it_starts_its_program() {
    let mut world = World::new().with_child("agent", Wait::Sleep(timer(4000)));
    world.root().state = RunState::Disk;
    let world = world
        .main_waits(Wait::Fork)
        .passes(10 * MINUTE, |w| w.sample.processes[1].threads[0].turns += 1);
    world.is_never_flagged();
}

/// Work is owed, and its first thread waits like this.
fn owes(wait: Wait, change: impl FnOnce(&mut Thread)) -> World {
    let mut world = World::new().owing().main_waits(wait);
    change(&mut world.root().threads[0]);
    world.passes(15 * MINUTE, wakes)
}

#[test]
fn g_a_loop_that_ticks_may_have_its_deadline_in_a_timer_descriptor() {
    let timer_descriptor = target(7, Kind::Internal("timerfd".into()));
    let ticks = || event_loop(vec![timer_descriptor.clone()], timer(1000));
    let left = Some(Duration::from_secs(1500));
    let world = owes(ticks(), |thread| thread.timer = left);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Sleeping);
    owes(event_loop(Vec::new(), timer(1000)), |_| {}).is(Verdict::Stalled, 6 * MINUTE, "owed");
}

#[test]
fn g_a_semaphore_that_programs_outside_can_open_may_be_posted_by_them() {
    let waits = || Wait::Futex {
        private: false,
        until: Until::Never,
        owner: None,
    };
    let world = owes(waits(), |thread| thread.open_memory = true);
    world.is_never_flagged();
    owes(waits(), |_| {}).is(Verdict::Stalled, 6 * MINUTE, "owed");
}

/// Each minute it asks the same small question over the connection that it keeps, and gets the same small answer.
fn asks_each_minute(pauses: fn(u64) -> Wait) -> World {
    let mut seconds = 0;
    let rests = Tcp {
        acked: 500,
        sent_ago: Duration::from_secs(2),
        received_ago: Duration::from_secs(1),
        ..asked()
    };
    let world = World::new().owing().with_tcp(rests).main_waits(pauses(60));
    world.passes(100 * MINUTE, |w| {
        let before = std::mem::replace(&mut seconds, w.seconds());
        let asks = before / 60 < seconds / 60;
        let wait = if asks {
            Wait::Running
        } else {
            pauses(60 - seconds % 60)
        };
        w.root().threads[0].wait = Some(wait);
        if asks {
            let tcp = w.tcp();
            (tcp.acked, tcp.received) = (tcp.acked + 28, tcp.received + 90);
            tcp.segments_in += 1;
            wakes(w);
        }
    })
}

#[test]
fn g_a_batch_that_is_looked_at_each_minute_may_take_hours() {
    asks_each_minute(|left| Wait::Sleep(timer(left * 1000))).is_never_flagged();
}

#[test]
fn a_loop_that_looks_each_minute_has_half_an_hour() {
    let world = asks_each_minute(|left| event_loop(Vec::new(), timer(left * 1000)));
    let first = world.judgements.iter().find(|(_, j)| j.verdict.is_flag());
    assert!(first.is_some_and(|(at, _)| *at >= 30 * MINUTE), "{first:?}");
}

#[test]
fn g_a_lock_whose_holder_works_by_fits_and_starts_is_waited_for() {
    let waits = Wait::Futex {
        private: true,
        until: Until::Never,
        owner: Some(ROOT + 1001),
    };
    let world = World::new()
        .owing()
        .with_threads(1, &Wait::Sleep(timer(5000)));
    world
        .main_waits(waits)
        .passes(25 * MINUTE, |w| w.root().threads[1].turns += 1)
        .is_never_flagged();
}

#[test]
fn g_a_pipeline_with_a_slow_end_is_no_cycle() {
    let full = |inode| Wait::Write(target(1, Kind::Pipe(inode)));
    let mut world = World::new().with_child("seq", full(7));
    let mut tee = process(CHILD + 1, ROOT, "tee");
    tee.threads[0].wait = Some(full(8));
    let mut slow = process(CHILD + 2, ROOT, "sleep");
    slow.threads[0].wait = Some(Wait::Sleep(timer(900_000)));
    world.sample.processes.extend([tee, slow]);
    world.sample.ends = vec![
        end(CHILD, 1, 7, false),
        end(CHILD + 1, 0, 7, true),
        end(CHILD + 1, 1, 8, false),
        end(CHILD + 2, 0, 8, true),
    ];
    let world = world.still(9 * MINUTE);
    world.is_never_flagged();
    // The end waits for the first one.
    let mut world = world;
    world.sample.processes[3].threads[0].wait = Some(parked());
    world
        .still(9 * MINUTE)
        .is(Verdict::Stalled, 16 * MINUTE, "pipe is full");
}

#[test]
fn h_a_lone_thread_that_waits_for_its_own_lock_is_stuck_also_below_a_tracer() {
    let own = Wait::Futex {
        private: true,
        until: Until::Never,
        owner: Some(ROOT),
    };
    let mut world = World::new().main_waits(own.clone());
    world.root().tracer = Some(9);
    world
        .still(2 * MINUTE)
        .is(Verdict::Stalled, MINUTE, "itself");
    let world = World::new().with_threads(1, &Wait::Sleep(timer(1000)));
    world.main_waits(own).still(2 * MINUTE).is_never_flagged();
}

#[test]
fn g_an_answer_that_has_come_is_read_though_a_busy_machine_lets_clients_wait() {
    for unread in [90, 0] {
        let answer = Tcp {
            state: TcpState::CloseWait,
            unread: Some(unread),
            ..asked()
        };
        let mut world = World::new().main_waits(socket_read()).with_tcp(answer);
        add(&mut world, ROOT, 99, listener(8000, 1));
        world.still(9 * MINUTE).is_never_flagged();
    }
}
