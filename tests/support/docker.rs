//! A real Docker engine: the one that answers already, else one of the tests' own, and an image with hbsidecar in it.

use super::static_program::repository;
use super::{SOON, eventually, program, saw};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Where to talk to, and what to run there.
pub(crate) struct Docker {
    image: String,
    engine: Engine,
    dir: tempfile::TempDir,
}

enum Engine {
    /// The user's own: nothing but our image and containers may change there.
    Found,
    /// Ends when the guard's standard input is closed.
    Own { host: String, guard: Child },
}

/// A container of a test's own; it does not outlive it.
pub(crate) struct Container {
    docker: Arc<Docker>,
    id: String,
}

impl Docker {
    /// One engine serves all tests that run at the same time; the last one to leave ends it.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Docker>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(docker) = shared.upgrade() {
            return docker;
        }
        let docker = Arc::new(Self::start());
        *shared = Arc::downgrade(&docker);
        docker
    }

    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = match answers(&mut Command::new("docker")) {
            true => Engine::Found,
            false => Engine::start(&dir.path().join("engine")),
        };
        let docker = Self::of(engine, dir);
        docker.import();
        docker
    }

    /// An engine of the test's own without any image, whatever else answers: images may have every name there.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::start(&dir.path().join("engine"));
        Self::of(engine, dir)
    }

    fn of(engine: Engine, dir: tempfile::TempDir) -> Self {
        Self {
            image: format!("hb-test-{}", std::process::id()),
            engine,
            dir,
        }
    }

    /// `docker build` of a directory.
    pub(crate) fn build(&self, context: &Path, image: &str) {
        let mut build = self.command(&["build", "--quiet", "--tag", image]);
        said(build.env("DOCKER_BUILDKIT", "0").arg(context));
    }

    /// An image of the files below a directory.
    pub(crate) fn import_root(&self, root: &Path, image: &str) {
        let tar = self.dir.path().join("image.tar");
        let mut pack = Command::new("tar");
        said(pack.arg("-C").arg(root).arg("-cf").arg(&tar).arg("."));
        let mut import = self.command(&["import", "--change", "ENV PATH=/bin"]);
        said(import.arg(&tar).arg(image));
    }

    /// `docker run`, without a network; its exit code is the container's.
    pub(crate) fn run(&self, flags: &[&str], command: &[&str]) -> Output {
        let mut run = self.command(&["run", "--rm", "--network", "none"]);
        run.args(flags).arg(&self.image).args(command);
        run.output().unwrap()
    }

    /// The same, left running.
    pub(crate) fn spawn(self: &Arc<Self>, flags: &[&str], command: &[&str]) -> Container {
        self.spawn_in("none", flags, command)
    }

    /// The same in a network.
    pub(crate) fn spawn_in(
        self: &Arc<Self>,
        network: &str,
        flags: &[&str],
        command: &[&str],
    ) -> Container {
        self.spawn_of(&self.image, network, flags, command)
    }

    /// The same of another image.
    pub(crate) fn spawn_of(
        self: &Arc<Self>,
        image: &str,
        network: &str,
        flags: &[&str],
        command: &[&str],
    ) -> Container {
        let mut run = self.command(&["run", "--detach", "--network", network]);
        let id = said(run.args(flags).arg(image).args(command));
        Container {
            docker: Arc::clone(self),
            id,
        }
    }

    /// The words of `docker run` on a terminal, for a shell.
    pub(crate) fn run_on_a_terminal(&self) -> String {
        let host = match &self.engine {
            Engine::Found => String::new(),
            Engine::Own { host, .. } => format!("DOCKER_CONTEXT= DOCKER_HOST={host} "),
        };
        format!("{host}docker run --rm -it --network none {}", self.image)
    }

    /// The value of `DOCKER_HOST` for a program that talks to this engine; none: the one of this test.
    pub(crate) fn host(&self) -> Option<String> {
        match &self.engine {
            Engine::Found => std::env::var("DOCKER_HOST").ok(),
            Engine::Own { host, .. } => Some(host.clone()),
        }
    }

    /// The image with hbsidecar in it.
    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// `docker` with these arguments, to a good end; what it wrote.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        said(&mut self.command(arguments))
    }

    /// The same, whatever becomes of it.
    pub(crate) fn try_docker(&self, arguments: &[&str]) {
        let _ = self.command(arguments).output();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.engine.client();
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Busybox, hbsidecar with the libraries it names, and the probe: nothing else.
    fn import(&self) {
        let root = self.dir.path().join("root");
        let bin = root.join("bin");
        busybox(&root);
        let sidecar = program("hbsidecar");
        copy_libraries(&sidecar, &root);
        // Every container is a full copy: debug information would be copied along.
        let mut strip = Command::new("strip");
        said(strip.arg("-o").arg(bin.join("hbsidecar")).arg(&sidecar));
        compile_probe(&bin.join("probe"));
        self.import_root(&root, &self.image);
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        match &mut self.engine {
            Engine::Found => {
                let _ = self.command(&["rmi", "-f", &self.image]).output();
            }
            Engine::Own { guard, .. } => {
                drop(guard.stdin.take());
                let _ = guard.wait();
            }
        }
    }
}

impl Engine {
    fn start(dir: &Path) -> Self {
        let root = said(Command::new("id").arg("-u")) == "0";
        assert!(
            root,
            "no Docker engine answers, and only root can start one"
        );
        std::fs::create_dir_all(dir).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let script = support_file("docker-engine");
        // A session of its own: Ctrl-C ends the tests, and then the guard has work to do.
        let guard = Command::new("setsid")
            .arg(script)
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("setsid is needed");
        let host = format!("unix://{}", dir.join("docker.sock").display());
        let engine = Self::Own { host, guard };
        let deadline = std::time::Instant::now() + SOON;
        while !answers(&mut engine.client()) {
            let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(5).collect();
            assert!(
                std::time::Instant::now() < deadline,
                "no Docker engine within {SOON:?} (`make test-deps` installs one): {last:#?}"
            );
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
        engine
    }

    fn client(&self) -> Command {
        let mut client = Command::new("docker");
        if let Self::Own { host, .. } = self {
            client
                .env("DOCKER_HOST", host)
                .env_remove("DOCKER_CONTEXT")
                .env_remove("DOCKER_TLS_VERIFY");
        }
        client
    }
}

impl Container {
    /// 64 hexadecimal digits.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        said(self.docker.command(arguments).arg(&self.id))
    }

    /// `docker exec`; what it wrote.
    pub(crate) fn exec(&self, command: &[&str]) -> String {
        said(self.docker.command(&["exec", &self.id]).args(command))
    }

    /// What it wrote to standard output so far.
    pub(crate) fn output(&self) -> String {
        let mut logs = self.docker.command(&["logs", &self.id]);
        let output = logs.output().unwrap();
        saw("docker logs", &output);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn wait_for_output(&self, text: &str) {
        eventually(&format!("the container says {text:?}"), || {
            let state = self.docker(&["inspect", "--format", "{{.State.Status}}"]);
            let said = self.output();
            assert!(
                said.contains(text) || state != "exited",
                "it ended, having said {said:?}"
            );
            said.contains(text).then_some(())
        });
    }

    /// Waits for its end; its exit code.
    pub(crate) fn exit_code(&self) -> i32 {
        eventually("the container ends", || {
            let state = self.docker(&[
                "inspect",
                "--format",
                "{{.State.Status}} {{.State.ExitCode}}",
            ]);
            saw("docker inspect", &state);
            state.strip_prefix("exited ")?.parse().ok()
        })
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let mut remove = self.docker.command(&["rm", "-f", &self.id]);
        let _ = remove.output();
    }
}

fn answers(client: &mut Command) -> bool {
    client
        .args(["version", "--format", "{{.Server.Version}}"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

/// A file of this directory, whichever crate the test belongs to.
fn support_file(name: &str) -> PathBuf {
    repository().join("tests/support").join(name)
}

/// What a program needs from the dynamic linker; nothing for a static one.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

/// A root with busybox for every command.
pub(crate) fn busybox(root: &Path) {
    let bin = root.join("bin");
    for dir in ["bin", "tmp", "proc", "run"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    // As images have it; a tmpfs that is mounted there takes the mode over.
    std::fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777)).unwrap();
    let busybox = said(Command::new("sh").args(["-c", "command -v busybox"]));
    std::fs::copy(&busybox, bin.join("busybox")).unwrap();
    for applet in said(Command::new(&busybox).arg("--list")).lines() {
        if applet != "busybox" {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
        }
    }
}

/// What a program needs from the dynamic linker, at the same places below a root.
pub(crate) fn copy_libraries(program: &Path, root: &Path) {
    for library in libraries(program) {
        let place = root.join(library.strip_prefix("/").unwrap());
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(&library, place).unwrap();
    }
}

fn compile_probe(to: &Path) {
    let source = support_file("probe.c");
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-static", "-Wall", "-Werror", "-o"]);
    said(cc.arg(to).arg(source));
}

/// Runs it to a good end; what it wrote, trimmed.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
