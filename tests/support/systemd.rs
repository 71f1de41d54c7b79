//! A machine with a real systemd as PID 1: a container whose programs are those of this machine, read-only.

use super::docker::{Container, Docker};
use super::{eventually, saw};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The machine; it does not outlive its test.
pub(crate) struct Machine {
    docker: Arc<Docker>,
    container: Container,
    image: String,
}

/// The directories of its root, beside links into `/usr`.
const DIRECTORIES: [&str; 10] = [
    "proc", "sys", "dev", "run", "tmp", "var", "root", "usr", "opt", "store",
];
/// Units of a test, and where its configuration is.
pub(crate) const UNITS: &str = "etc/systemd/system";

impl Machine {
    /// With these files in it, by path below the root, and these mounts as `docker run -v` takes them.
    pub(crate) fn boot(files: &[(String, String)], mounts: &[String]) -> Self {
        let docker = Docker::shared();
        // Machines of one process boot side by side, each from its own image.
        static BOOTED: AtomicU32 = AtomicU32::new(0);
        let n = BOOTED.fetch_add(1, Ordering::Relaxed);
        let image = format!("hb-systemd-{}-{n}", std::process::id());
        let dir = tempfile::tempdir().unwrap();
        root(&dir.path().join("root"), files);
        let tar = dir.path().join("image.tar");
        let packed = Command::new("tar")
            .args(["-C", &dir.path().join("root").display().to_string(), "-cf"])
            .args([&tar, Path::new(".")])
            .status();
        assert!(packed.unwrap().success());
        docker.docker(&["import", tar.to_str().unwrap(), &image]);
        // A monitor outside takes it for its own host, whose bus it may use.
        let named = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let hostname = format!("--hostname={}", named.trim());
        let mut flags = vec![
            &*hostname,
            "--cap-add=SYS_ADMIN",
            "--cap-add=SYS_PTRACE",
            "--security-opt=seccomp=unconfined",
            "--security-opt=apparmor=unconfined",
            "--cgroupns=host",
            "--stop-signal=SIGRTMIN+3",
            "--tmpfs=/run",
            "--tmpfs=/tmp",
            "--env=container=docker",
            "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
            "--volume=/usr:/usr:ro",
        ];
        flags.extend(mounts.iter().flat_map(|mount| ["-v", mount]));
        let init = ["/lib/systemd/systemd", "--unit=hb.target"];
        let container = docker.spawn_of(&image, "none", &flags, &init);
        let machine = Self {
            docker,
            container,
            image,
        };
        eventually("systemd has started its units", || {
            machine
                .systemctl(&["is-active", "hb.target"])
                .starts_with("active")
                .then_some(())
        });
        machine
    }

    /// What it writes, whatever its exit code.
    pub(crate) fn systemctl(&self, arguments: &[&str]) -> String {
        self.sh(&format!("systemctl {}", arguments.join(" ")))
    }

    /// A property of a unit.
    pub(crate) fn show(&self, unit: &str, property: &str) -> String {
        self.systemctl(&["show", "--value", "-p", property, unit])
    }

    /// What a command writes to both outputs, whatever its exit code.
    pub(crate) fn sh(&self, command: &str) -> String {
        let shell = format!("{command} 2>&1; true");
        let wrote = self.container.exec(&["sh", "-c", &shell]);
        saw(command, &wrote);
        wrote
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.docker.try_docker(&["rm", "-f", self.container.id()]);
        self.docker.try_docker(&["rmi", "-f", &self.image]);
    }
}

/// A root directory with nothing but links into `/usr`, two users and the files.
fn root(root: &Path, files: &[(String, String)]) {
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for dir in DIRECTORIES {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{link}"), root.join(link)).unwrap();
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/:/usr/sbin/nologin\n";
    write("etc/passwd", passwd);
    write("etc/group", "root:x:0:\nmessagebus:x:100:\n");
    write("etc/machine-id", "");
    let target = "[Unit]\nRequires=dbus.socket\nAfter=dbus.socket\n";
    write(&format!("{UNITS}/hb.target"), target);
    for (path, text) in files {
        write(path, text);
    }
    symlink("/dev/null", root.join(UNITS).join("masked.service")).unwrap();
}
