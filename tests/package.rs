//! The Debian package of `scripts/deb`: installed, used, removed and purged in a root of its own. Only the programs are the test's.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use std::path::Path;
use std::process::Command;
use support::static_program::{repository, static_program};

fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// `dpkg` on a root directory.
fn dpkg(root: &Path, action: &str, what: &str) {
    let database = root.join("var/lib/dpkg");
    std::fs::create_dir_all(database.join("updates")).unwrap();
    std::fs::create_dir_all(database.join("info")).unwrap();
    for file in ["status", "available"] {
        let path = database.join(file);
        if !path.exists() {
            std::fs::write(path, "").unwrap();
        }
    }
    let mut dpkg = Command::new("dpkg");
    dpkg.args(["--force-script-chrootless", "--force-not-root"]);
    dpkg.arg(format!("--root={}", root.display()));
    dpkg.arg(format!("--log={}", root.join("dpkg.log").display()));
    done(dpkg.args([action, what]));
}

#[test]
fn a_package_is_installed_used_removed_and_purged() {
    let place = tempfile::tempdir().unwrap();
    let (programs, root) = (place.path().join("programs"), place.path().join("root"));
    std::fs::create_dir(&programs).unwrap();
    for name in ["hbsidecar", "hbmonitor"] {
        static_program(name, &programs);
    }
    let package = place.path().join("hb.deb");
    done(Command::new(repository().join("scripts/deb")).args([&programs, &package]));

    dpkg(&root, "--install", package.to_str().unwrap());
    for name in ["hbsidecar", "hbmonitor"] {
        let version = done(Command::new(root.join("usr/bin").join(name)).arg("--version"));
        assert_eq!(
            version.trim(),
            format!("{name} {}", env!("CARGO_PKG_VERSION"))
        );
        let page = root.join(format!("usr/share/man/man1/{name}.1.gz"));
        let page = done(Command::new("gzip").arg("-dc").arg(page));
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
        let completion = root
            .join("usr/share/bash-completion/completions")
            .join(name);
        done(Command::new("bash").arg("-n").arg(completion));
    }
    assert!(root.join("lib/systemd/system/hbmonitor.service").is_file());

    let (state, setting) = (
        root.join("var/lib/private/hb"),
        root.join("etc/hb/hbmonitor.env"),
    );
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(&setting, "HB_READ_ONLY=true").unwrap();
    dpkg(&root, "--remove", "hb");
    assert!(!root.join("usr/bin/hbmonitor").exists());
    assert!(state.exists(), "removed is not purged");
    dpkg(&root, "--purge", "hb");
    assert!(!state.exists());
    assert!(setting.exists(), "what a person wrote is not the package's");
}
