//! The runtime directory of one user's programs on one machine: a pure function of environment and user id.

use std::path::PathBuf;

/// The places for the directory of sockets and of [`STORE_FILE`], the first one first: `$XDG_RUNTIME_DIR/hb`, else `/run/hb`
/// for root, else a directory under `/tmp`. Another user may have made that one before, so there is another behind it, in a
/// directory of this user: `$XDG_STATE_HOME/hb-run`, by default `.hb-run` in the home directory. A place must be checked
/// before it is used.
pub fn runtime_dirs(
    xdg_runtime_dir: Option<PathBuf>,
    xdg_state_home: Option<PathBuf>,
    home: Option<PathBuf>,
    uid: u32,
) -> Vec<PathBuf> {
    let absolute = |dir: Option<PathBuf>| dir.filter(|dir| dir.is_absolute());
    let usual = match absolute(xdg_runtime_dir) {
        Some(dir) => dir.join("hb"),
        None if uid == 0 => PathBuf::from("/run/hb"),
        None => PathBuf::from(format!("/tmp/hb-{uid}")),
    };
    let state = absolute(xdg_state_home).map(|dir| dir.join("hb-run"));
    let behind = state.or_else(|| Some(absolute(home)?.join(".hb-run")));
    [usual].into_iter().chain(behind).collect()
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
        let first = |xdg, uid| places(xdg, uid).swap_remove(0);
        assert_eq!(
            first(Some("/run/user/7"), 7),
            PathBuf::from("/run/user/7/hb")
        );
        assert_eq!(first(None, 0), PathBuf::from("/run/hb"));
        assert_eq!(
            places(Some("relative"), 7),
            [PathBuf::from("/tmp/hb-7"), behind]
        );
        assert_eq!(runtime_dirs(None, None, None, 7).len(), 1);
    }
}
