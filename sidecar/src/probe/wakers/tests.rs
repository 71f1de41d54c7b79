//! What can wake real programs.

use super::super::trees::{Tree, until};
use heartbeat::verdict::sample::{
    Holders, Object, ObjectKind, Origin, RunState, Sample, Thread, Until, Wait, Watched, Why,
};
use std::process::Command;

/// Imports that the programs share, and a pause that nothing ends but a signal.
const HEAD: &str = "import os,sys,socket,threading,time,select,ctypes,fcntl,tempfile,signal,array
libc=ctypes.CDLL(None)
def ready(): libc.prctl(15,b'ready')
def rest():
  while True: time.sleep(500)
";

/// A program with the name `ready` once only its last line is left.
fn python(code: &str) -> Tree {
    let (first, last) = code.rsplit_once('\n').unwrap_or(("", code));
    Tree::python(&format!("{HEAD}{first}\nready()\n{last}"))
}

fn main_thread(sample: &Sample) -> Option<&Thread> {
    let root = sample.root().filter(|root| root.name == "ready")?;
    root.threads.first()
}

/// A sample in which the main thread blocks in its last line.
fn blocked(tree: &Tree) -> Sample {
    let is_blocked = |thread: &Thread| match &thread.wait {
        Some(Wait::Read(_) | Wait::Poll { .. }) => thread.state == Some(RunState::Sleeping),
        Some(_) | None => false,
    };
    let (_, sample) = until(tree.0.id(), |s| main_thread(s).is_some_and(is_blocked));
    sample
}

/// The last object that the main thread waits on, once it is as expected.
fn object_of(tree: &Tree, expected: impl Fn(&Object) -> bool) -> (Sample, Object) {
    let last = |sample: &Sample| {
        let object = main_thread(sample)?.watched.objects().last()?.clone();
        expected(&object).then_some(object)
    };
    let (_, sample) = until(tree.0.id(), |sample| last(sample).is_some());
    let object = last(&sample).unwrap();
    (sample, object)
}

fn inside(pids: &[u32]) -> Holders {
    let mut inside = pids.to_vec();
    inside.sort_unstable();
    Holders::Known {
        inside,
        outside: Vec::new(),
    }
}

fn child(sample: &Sample) -> u32 {
    let root = sample.root;
    let mut children = sample.processes.iter().filter(|p| p.parent == root);
    children.next().map_or(0, |p| p.pid)
}

/// That the main thread waits on this kind, held by the root and its child, and by no other process.
fn is_shared_with_the_child(code: &str, kind: &ObjectKind) {
    let tree = python(code);
    let root = tree.0.id();
    let (sample, object) = object_of(&tree, |o| {
        o.kind == *kind && matches!(&o.holders, Holders::Known { inside, .. } if inside.len() > 1)
    });
    assert_eq!(object.holders, inside(&[root, child(&sample)]), "{code}");
    assert_eq!(object.origin, Origin::Inside, "{code}");
}

#[test]
fn a_pipe_within_one_process_has_no_other_holder() {
    let tree = python("r,w=os.pipe()\nos.read(r,1)");
    let (_, object) = object_of(&tree, |o| o.kind == ObjectKind::Pipe);
    assert_eq!(object.holders, inside(&[tree.0.id()]));
    assert_eq!(
        (object.origin, object.limit),
        (Origin::Inside, Until::Never)
    );
}

#[test]
fn only_writers_matter_to_a_reader() {
    let code =
        "r,w=os.pipe()\nif os.fork()==0:\n  os.close(r)\n  rest()\nos.close(w)\nos.read(r,1)";
    let tree = python(code);
    let (sample, object) = object_of(&tree, |o| {
        o.kind == ObjectKind::Pipe
            && !matches!(&o.holders, Holders::Known { inside, .. } if inside.len() > 1)
    });
    assert_eq!(object.holders, inside(&[child(&sample)]));
}

#[test]
fn an_inherited_pipe_comes_from_outside() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut yes = Command::new("yes");
    let yes = std::os::unix::process::CommandExt::process_group(yes.stdout(writer), 0);
    let tree = Tree(yes.spawn().unwrap());
    let pipe = |sample: &Sample| {
        let thread = sample.root()?.threads.first()?;
        let object = thread.watched.objects().first()?;
        (object.kind == ObjectKind::Pipe).then(|| object.clone())
    };
    let (_, sample) = until(tree.0.id(), |s| pipe(s).is_some());
    let object = pipe(&sample).unwrap();
    let own = Holders::Known {
        inside: Vec::new(),
        outside: vec![std::process::id()],
    };
    assert_eq!(object.holders, own);
    assert_eq!(object.origin, Origin::Outside);
    drop(reader);
}

#[test]
fn what_a_child_shares_is_known() {
    for (code, kind) in [
        (
            "e=os.eventfd(0)\nif os.fork()==0: rest()\nos.eventfd_read(e)",
            ObjectKind::Event,
        ),
        (
            "a,b=socket.socketpair()\nif os.fork()==0: rest()\na.recv(1)",
            ObjectKind::SocketPair,
        ),
        (
            "l=socket.create_server(('127.0.0.1',0))\nc=socket.create_connection(l.getsockname())\ns,_=l.accept()
if os.fork()==0: rest()\nl.close()\nc.recv(1)",
            ObjectKind::Loopback,
        ),
        (
            "import multiprocessing as m\ns=m.Semaphore(0)\nif os.fork()==0: rest()\ns.acquire()",
            ObjectKind::Memory,
        ),
        (
            "f=tempfile.TemporaryFile()\nfcntl.flock(f,2)\nif os.fork()==0: rest()
g=open('/proc/self/fd/%d'%f.fileno(),'r+b')\nfcntl.flock(g,2)",
            ObjectKind::FileLock,
        ),
        (
            "os.setsid() if os.getpid()!=os.getpgid(0) else None\nif os.fork()==0: rest()\nos.waitpid(-1,0)",
            ObjectKind::Children,
        ),
        (
            "t=libc.timerfd_create(1,0)\nif os.fork()==0: rest()\nos.read(t,8)",
            ObjectKind::Timer { armed: Some(false) },
        ),
    ] {
        is_shared_with_the_child(code, &kind);
    }
}

#[test]
fn private_memory_is_of_its_process_alone() {
    let tree = python("if os.fork()==0: rest()\nl=threading.Lock()\nl.acquire()\nl.acquire()");
    let (_, object) = object_of(&tree, |o| o.kind == ObjectKind::Memory);
    assert_eq!(object.holders, inside(&[tree.0.id()]));
}

#[test]
fn a_process_that_shares_all_memory_can_wake_private_locks() {
    // CLONE_VM and SIGCHLD; the child runs nothing but `pause`.
    let code = "stack=ctypes.create_string_buffer(65536)\ntop=ctypes.c_void_p(ctypes.addressof(stack)+65536&~15)
libc.clone(libc.pause,top,0x111,None)\nl=threading.Lock()\nl.acquire()\nl.acquire()";
    is_shared_with_the_child(code, &ObjectKind::Memory);
}

#[test]
fn a_thread_that_is_joined_is_of_the_same_memory() {
    let code = "h=ctypes.c_ulong()\nf=ctypes.CFUNCTYPE(ctypes.c_void_p,ctypes.c_void_p)(lambda _: libc.pause())
libc.pthread_create(ctypes.byref(h),None,f,None)\nlibc.pthread_join(h,None)";
    let tree = python(code);
    let (_, object) = object_of(&tree, |o| o.kind == ObjectKind::Memory);
    assert_eq!(object.holders, inside(&[tree.0.id()]));
}

#[test]
fn a_tree_whose_root_goes_on_by_itself_is_not_searched() {
    for code in [
        "import struct\na,b=socket.socketpair()
a.setsockopt(socket.SOL_SOCKET,socket.SO_RCVTIMEO,struct.pack('ll',400,0))\na.recv(1)",
        "p=tempfile.mktemp()\nos.mkfifo(p)\nf=os.open(p,os.O_RDWR)\nos.unlink(p)\nos.read(f,1)",
        // An entry whose number leads nowhere by now.
        "q=select.epoll()\nr,w=os.pipe()\nkept=os.dup(r)\nq.register(r)\nos.close(r)\nq.poll()",
        // The same, and the number was given away.
        "q=select.epoll()\nr,w=os.pipe()\nkept=os.dup(r)\nq.register(r)\nos.close(r)\nx,y=os.pipe()\nq.poll()",
        "t=libc.timerfd_create(1,0)\nlibc.timerfd_settime(t,0,(ctypes.c_long*4)(0,0,500,0),None)\nos.read(t,8)",
        "r,w=os.pipe()\nselect.select([r],[],[],500)",
    ] {
        let sample = blocked(&python(code));
        let watched = &main_thread(&sample).unwrap().watched;
        assert_eq!(*watched, Watched::Unknown(Why::NotAsked), "{code}");
    }
}

#[test]
fn what_epoll_watches_is_listed_with_the_epoll_itself() {
    let tree = python(
        "q=select.epoll()\nn=select.epoll()\nr,w=os.pipe()\nn.register(r)\nq.register(n.fileno())\nq.poll()",
    );
    let (sample, _) = object_of(&tree, |o| o.kind == ObjectKind::Pipe);
    let kinds: Vec<_> = main_thread(&sample)
        .unwrap()
        .watched
        .objects()
        .iter()
        .map(|o| &o.kind)
        .collect();
    assert_eq!(
        kinds,
        [&ObjectKind::Epoll, &ObjectKind::Epoll, &ObjectKind::Pipe]
    );
}

#[test]
fn a_descriptor_on_its_way_makes_holders_unknown() {
    let code = "r,w=os.pipe()\na,b=socket.socketpair()\nsocket.send_fds(a,[b'x'],[w])\nos.close(w)\nos.read(r,1)";
    let tree = python(code);
    let (_, object) = object_of(&tree, |o| {
        o.kind == ObjectKind::Pipe
            && o.holders
                != Holders::Known {
                    inside: vec![],
                    outside: vec![],
                }
    });
    assert_eq!(object.holders, Holders::Unknown(Why::Hidden));
}

#[test]
fn a_pidfd_leads_to_its_process() {
    let code = "pid=os.fork()\nif pid==0: rest()\np=select.poll()\np.register(os.pidfd_open(pid),1)\np.poll()";
    let tree = python(code);
    let (sample, object) = object_of(&tree, |o| o.kind == ObjectKind::Process);
    assert_eq!(object.holders, inside(&[child(&sample)]));
}

#[test]
fn a_terminal_of_the_tree_is_held_by_its_master_and_its_session() {
    let code = "if os.fork()>0: os.waitpid(-1,0)\nos.setsid()\nm,s=os.openpty()\nos.read(s,1)";
    let tree = python(code);
    let terminal = |s: &Sample| {
        let mut objects = s
            .processes
            .iter()
            .flat_map(|p| &p.threads)
            .flat_map(|t| t.watched.objects());
        objects.find(|o| o.kind == ObjectKind::Terminal).cloned()
    };
    let (_, sample) = until(tree.0.id(), |s| terminal(s).is_some());
    assert_eq!(
        terminal(&sample).unwrap().holders,
        inside(&[child(&sample)])
    );
}

#[test]
fn a_process_whose_first_thread_has_ended_is_alive_with_the_others() {
    let code =
        "r,w=os.pipe()\nthreading.Thread(target=lambda: os.read(r,1)).start()\nlibc.syscall(60,0)";
    let tree = python(code);
    let (_, sample) = until(tree.0.id(), |s| {
        s.root()
            .filter(|root| root.first_thread_ended)
            .and_then(|root| root.threads.first())
            .is_some_and(|thread| !thread.watched.objects().is_empty())
    });
    let root = sample.root().unwrap();
    assert!(root.main().is_none() && root.is_whole(), "{root:?}");
    let object = &root.threads[0].watched.objects()[0];
    assert_eq!(object.holders, inside(&[root.pid]));
}

#[test]
fn a_socket_to_a_process_outside_is_remembered() {
    let path = tempfile::tempdir().unwrap();
    let path = path.path().join("s");
    let at = path.display();
    let server = python(&format!(
        "s=socket.socket(socket.AF_UNIX)\ns.bind('{at}')\ns.listen()\nk=s.accept()\nrest()"
    ));
    let client = format!(
        "for _ in range(3000):\n  try:\n    c=socket.socket(socket.AF_UNIX)\n    c.connect('{at}')\n    break\n  except OSError: time.sleep(.01)
r,w=os.pipe()\nos.read(r,1)"
    );
    let tree = python(&client);
    let (sample, _) = object_of(&tree, |o| o.kind == ObjectKind::Pipe);
    assert_eq!(sample.reach.met_outside, Some(true));
    drop(server);
    let lonely = python("r,w=os.pipe()\nos.read(r,1)");
    let (sample, _) = object_of(&lonely, |o| o.kind == ObjectKind::Pipe);
    assert_eq!(sample.reach.met_outside, Some(false));
}

#[test]
fn signals_and_timers_of_a_process_are_read() {
    let code = "signal.signal(10,signal.SIG_IGN)\ns=ctypes.c_void_p()\nlibc.timer_create(1,None,ctypes.byref(s))
signal.pthread_sigmask(0,[12])\nr,w=os.pipe()\nos.read(r,1)";
    let tree = python(code);
    let (sample, _) = object_of(&tree, |o| o.kind == ObjectKind::Pipe);
    let root = sample.root().unwrap();
    assert!(
        root.ignored.is_some_and(|mask| mask & 1 << 9 != 0),
        "{root:?}"
    );
    assert_eq!(
        (root.timers, root.threads[0].blocked),
        (Some(1), Some(1 << 11))
    );
}
