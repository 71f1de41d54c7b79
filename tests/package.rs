//! What `make dist` ships beside the programs. The Debian package is installed, used, removed and purged in a root of its own;
//! only the programs are the test's. The bill of materials is held against what is in programs.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use support::static_program::{repository, static_program};
use support::venv;

const VALIDATE: &str = "import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())
sys.exit(fault and str(fault))";

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
    assert!(root.join("usr/share/doc/hb/hb.cdx.json").is_file());

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

fn bill_of_materials() -> String {
    done(&mut Command::new(repository().join("scripts/sbom")))
}

/// The crates of a bill as `name-version`, of one scope.
fn crates(bill: &str, scope: &str) -> BTreeSet<String> {
    let bill: Value = serde_json::from_str(bill).unwrap();
    let components = bill["components"].as_array().unwrap();
    let of_scope = components.iter().filter(|one| one["scope"] == scope);
    let word = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    of_scope
        .map(|one| format!("{}-{}", word(one, "name"), word(one, "version")))
        .collect()
}

/// The crates of a registry whose files a program names, as its panics do.
fn named_in(program: &Path) -> BTreeSet<String> {
    let bytes = std::fs::read(program).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let paths = text.split("/registry/src/").skip(1);
    paths
        .filter_map(|path| Some(path.split('/').nth(1)?.to_owned()))
        .collect()
}

#[test]
fn the_bill_of_materials_is_valid() {
    let bill = bill_of_materials();
    let validate = |bill: &str| {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("bill.json");
        std::fs::write(&path, bill).unwrap();
        let mut python = Command::new(venv().join("bin/python"));
        python.args(["-c", VALIDATE]);
        python.stdin(std::fs::File::open(path).unwrap());
        python.output().unwrap()
    };
    let valid = validate(&bill);
    assert!(valid.status.success(), "{valid:?}");
    let broken = validate(&bill.replace("\"required\"", "\"wanted\""));
    assert!(!broken.status.success(), "the check can fail");
}

#[test]
fn the_bill_of_materials_names_what_is_linked_and_nothing_of_the_tests() {
    let bill = bill_of_materials();
    let (linked, build_only) = (crates(&bill, "required"), crates(&bill, "excluded"));
    let place = tempfile::tempdir().unwrap();
    for name in ["hbsidecar", "hbmonitor"] {
        let named = named_in(&static_program(name, place.path()));
        assert!(named.len() > 20, "{name}: {named:?}");
        let missing: Vec<_> = named.difference(&linked).collect();
        assert!(missing.is_empty(), "{name} holds {missing:?}");
    }

    let is_of = |crates: &BTreeSet<String>, name: &str| {
        let of_name = |one: &String| one.starts_with(&format!("{name}-"));
        crates.iter().any(of_name)
    };
    for library in ["glibc", "libgcc", "rust-std", "heartbeat", "hbshell"] {
        assert!(is_of(&linked, library), "{library}");
    }
    for ours in ["serde_derive", "tokio-macros"] {
        assert!(is_of(&build_only, ours) && !is_of(&linked, ours), "{ours}");
    }
    let lock = std::fs::read_to_string(repository().join("Cargo.lock")).unwrap();
    for of_tests in ["criterion", "proptest", "rcgen", "tempfile"] {
        assert!(
            lock.contains(&format!("name = \"{of_tests}\"")),
            "{of_tests}"
        );
        assert!(
            !is_of(&linked, of_tests) && !is_of(&build_only, of_tests),
            "{of_tests}"
        );
    }
}
