//! A program of this workspace that needs no file beside it, for an empty root. Only its last link is repeated: `make dist`
//! builds what is shipped.

use super::program;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Puts it into a directory.
pub(crate) fn static_program(name: &str, directory: &Path) -> PathBuf {
    let crates = program(name).parent().unwrap().join("deps");
    let library = newest(&crates, &format!("lib{name}-"));
    let source = match name {
        "hbsidecar" => "sidecar/src/main.rs",
        _ => "monitor/src/main.rs",
    };
    let made = directory.join(name);
    let linked = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "--crate-name",
            &format!("{name}_static"),
        ])
        .args(["-C", "target-feature=+crt-static", "-C", "strip=symbols"])
        .arg("--extern")
        .arg(format!("{name}={}", library.display()))
        .arg("-L")
        .arg(format!("dependency={}", crates.display()))
        .arg("-o")
        .args([&made, &repository().join(source)])
        .output()
        .unwrap();
    let why = String::from_utf8_lossy(&linked.stderr);
    assert!(linked.status.success(), "{name} cannot be linked: {why}");
    made
}

/// The root of the repository, whichever crate the test belongs to.
pub(crate) fn repository() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut above = own.ancestors();
    let root = above.find(|dir| dir.join("tests/support").is_dir());
    root.unwrap().to_owned()
}

/// Of several builds of a library, with other features, the last one.
fn newest(directory: &Path, prefix: &str) -> PathBuf {
    let files = std::fs::read_dir(directory).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let ours = paths.filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(prefix) && name.ends_with(".rlib")
    });
    let made = |path: &PathBuf| std::fs::metadata(path).unwrap().modified().unwrap();
    ours.max_by_key(made).unwrap()
}
