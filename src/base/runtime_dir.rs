//! The directories of one user's programs on one machine: pure functions of environment and user id.

use std::path::PathBuf;

/// The places for the directory of sockets and of [`STORE_FILE`], the first one first: `$XDG_RUNTIME_DIR/hb`, else `/run/hb`
/// for root, else a directory under `/tmp`. Another user may have made that one before, or a root is read-only, so there are
/// others behind it: `$XDG_STATE_HOME/hb-run`, by default `.hb-run` in the home directory, and directories of this user below
/// `/run/hb` and `/tmp`, where containers have their volumes. A place must be checked before it is used.
pub fn runtime_dirs(
    xdg_runtime_dir: Option<PathBuf>,
    xdg_state_home: Option<PathBuf>,
    home: Option<PathBuf>,
    uid: u32,
) -> Vec<PathBuf> {
    let absolute = |dir: Option<PathBuf>| dir.filter(|dir| dir.is_absolute());
    let temporary = PathBuf::from(format!("/tmp/hb-{uid}"));
    let volume = PathBuf::from(format!("/run/hb/{uid}"));
    let state = absolute(xdg_state_home).map(|dir| dir.join("hb-run"));
    let behind = state.or_else(|| Some(absolute(home)?.join(".hb-run")));
    let (usual, last) = match absolute(xdg_runtime_dir) {
        Some(dir) => (dir.join("hb"), Some(temporary)),
        None if uid == 0 => (PathBuf::from("/run/hb"), Some(temporary)),
        None => (temporary, None),
    };
    let places = [Some(usual), behind, Some(volume), last];
    places.into_iter().flatten().collect()
}

/// The directory of what survives a restart: `$XDG_STATE_HOME/hb`, `/var/lib/hb` for root, else `~/.local/state/hb`; `None`
/// for a user without a home.
pub fn state_dir(
    xdg_state_home: Option<PathBuf>,
    home: Option<PathBuf>,
    uid: u32,
) -> Option<PathBuf> {
    match xdg_state_home.filter(|dir| dir.is_absolute()) {
        Some(dir) => Some(dir.join("hb")),
        None if uid == 0 => Some(PathBuf::from("/var/lib/hb")),
        None => home
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(".local/state/hb")),
    }
}

/// The file in the runtime directory that names the embedded store's URL.
pub const STORE_FILE: &str = "store-url";
/// Where a store is expected when none is configured.
pub const STORE_URL_DEFAULT: &str = "redis://127.0.0.1:6379";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_a_place_of_its_own_and_one_behind_it() {
        let places = |xdg: Option<&str>, uid| {
            runtime_dirs(xdg.map(PathBuf::from), None, Some("/home/u".into()), uid)
        };
        let behind = PathBuf::from("/home/u/.hb-run");
        let volume = PathBuf::from("/run/hb/7");
        let first = |xdg, uid| places(xdg, uid).swap_remove(0);
        assert_eq!(
            first(Some("/run/user/7"), 7),
            PathBuf::from("/run/user/7/hb")
        );
        assert_eq!(first(None, 0), PathBuf::from("/run/hb"));
        assert_eq!(
            places(Some("relative"), 7),
            [PathBuf::from("/tmp/hb-7"), behind, volume.clone()]
        );
        assert_eq!(
            runtime_dirs(None, None, None, 7),
            [PathBuf::from("/tmp/hb-7"), volume]
        );
        let last = |xdg, uid| places(xdg, uid).pop();
        assert_eq!(last(None, 0), Some("/tmp/hb-0".into()));
        assert_eq!(last(Some("/run/user/7"), 7), Some("/tmp/hb-7".into()));
    }

    #[test]
    fn state_is_kept_where_the_user_says_or_where_state_belongs() {
        let place = |xdg: Option<&str>, home: Option<&str>, uid| {
            state_dir(xdg.map(PathBuf::from), home.map(PathBuf::from), uid)
        };
        assert_eq!(place(Some("/s"), Some("/h"), 7), Some("/s/hb".into()));
        assert_eq!(place(None, Some("/root"), 0), Some("/var/lib/hb".into()));
        assert_eq!(
            place(Some("relative"), Some("/h"), 7),
            Some("/h/.local/state/hb".into())
        );
        assert_eq!(place(None, None, 7), None);
    }
}
