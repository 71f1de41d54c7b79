//! The directories of one user's programs on one machine: pure functions of environment and user id.

use std::path::PathBuf;

/// The directory of sockets and of [`STORE_FILE`]: `$XDG_RUNTIME_DIR/hb`, `/run/hb` for root, else a private
/// directory under `/tmp`. A reader must check that the directory belongs to its user.
pub fn runtime_dir(xdg_runtime_dir: Option<PathBuf>, uid: u32) -> PathBuf {
    match xdg_runtime_dir.filter(|dir| dir.is_absolute()) {
        Some(dir) => dir.join("hb"),
        None if uid == 0 => PathBuf::from("/run/hb"),
        None => PathBuf::from(format!("/tmp/hb-{uid}")),
    }
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
    fn each_user_has_a_place_of_its_own() {
        let place = |xdg: Option<&str>, uid| runtime_dir(xdg.map(PathBuf::from), uid);
        assert_eq!(
            place(Some("/run/user/7"), 7),
            PathBuf::from("/run/user/7/hb")
        );
        assert_eq!(place(None, 0), PathBuf::from("/run/hb"));
        assert_eq!(place(Some("relative"), 7), PathBuf::from("/tmp/hb-7"));
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
