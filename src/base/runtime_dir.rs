//! The runtime directory of one user's programs on one machine: a pure function of environment and user id.

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
}
