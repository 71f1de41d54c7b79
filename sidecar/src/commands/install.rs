//! `hbsidecar install PATH`: copies this program, where there is no `cp`: an image with nothing else in it fills a volume that
//! other containers share.

use hbshell::log_writer::complain;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The running program, also when its file was replaced meanwhile.
const OWN: &str = "/proc/self/exe";
/// Every user may run it, whatever the umask.
const MODE: u32 = 0o755;

/// Copy this program to a place from where other containers run it.
#[derive(Debug, clap::Args)]
pub(crate) struct InstallArgs {
    /// The new file, or a directory for it; directories above it are made
    path: PathBuf,
}

/// `hbsidecar install`. Returns the exit code: 0 installed, 1 not.
pub(crate) fn install(args: &InstallArgs) -> u8 {
    let path = if args.path.is_dir() || ends_with_slash(&args.path) {
        args.path.join("hbsidecar")
    } else {
        args.path.clone()
    };
    match copy(&path) {
        Ok(()) => 0,
        Err(error) => {
            let what = format!(
                "cannot install to {}: {error}; name a place that user {} may write to",
                path.display(),
                nix::unistd::geteuid()
            );
            complain("hbsidecar", &what);
            1
        }
    }
}

/// Whole or not at all: what runs from there already goes on, and nothing sees half a program.
fn copy(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(name);
    let placed = fill(&new).and_then(|()| std::fs::rename(&new, path));
    if placed.is_err() {
        let _ = std::fs::remove_file(&new); // it may not have been made
    }
    placed
}

fn fill(new: &Path) -> io::Result<()> {
    let mut file = File::create_new(new)?;
    io::copy(&mut File::open(OWN)?, &mut file)?;
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.sync_all()
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(path: PathBuf) -> u8 {
        install(&InstallArgs { path })
    }

    fn is_this_program(path: &Path) -> bool {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        mode & 0o777 == MODE && std::fs::read(path).unwrap() == std::fs::read(OWN).unwrap()
    }

    #[test]
    fn a_directory_a_new_one_and_a_file_get_this_program_for_everyone() {
        let place = tempfile::tempdir().unwrap();
        let named = place.path().join("deep/er/agent-watch");
        for (given, found) in [
            (place.path().to_owned(), place.path().join("hbsidecar")),
            (
                place.path().join("new/"),
                place.path().join("new/hbsidecar"),
            ),
            (named.clone(), named),
        ] {
            assert_eq!(installed(given), 0);
            assert!(is_this_program(&found), "{}", found.display());
        }
    }

    #[test]
    fn a_copy_that_is_there_is_replaced_and_nothing_else_is_left() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("hbsidecar");
        std::fs::write(&path, "an older one").unwrap();
        assert_eq!(installed(path.clone()), 0);
        assert!(is_this_program(&path));
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_place_that_cannot_be_written_to_is_an_error_and_leaves_nothing() {
        assert_eq!(installed("/proc/hbsidecar".into()), 1);
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("file"), "").unwrap();
        assert_eq!(installed(place.path().join("file/hbsidecar")), 1);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
