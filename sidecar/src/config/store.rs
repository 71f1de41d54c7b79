//! Where the store is, and the password that opens it.

use super::ConfigError;
use heartbeat::base::runtime_dir;
use redis::{ConnectionInfo, IntoConnectionInfo};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the store is.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// Where the user said, and nowhere else.
    Configured {
        info: Box<ConnectionInfo>,
        password: Option<Password>,
    },
    /// No URL is given: where hbmonitor published its own, else the default; looked up anew for each try.
    Nearby {
        published: PathBuf,
        password: Option<Password>,
    },
}

/// A password in a file. The file is read again for each connection, so a rewritten one needs no restart of ours.
#[derive(Clone)]
pub(crate) struct Password {
    file: PathBuf,
    /// What came out of a pipe, as of a shell's `<(pass show redis)`: it cannot be read twice.
    kept: Option<String>,
}

impl Store {
    /// Where these settings lead.
    pub(super) fn new(
        url: Option<String>,
        password_file: Option<PathBuf>,
    ) -> Result<Self, ConfigError> {
        let password = password_file.map(Password::open).transpose()?;
        if let Some(url) = url {
            let info = Box::new(parse_url(&url)?);
            return Ok(Self::Configured { info, password });
        }
        let xdg = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let dir = runtime_dir::runtime_dir(xdg, nix::unistd::geteuid().as_raw());
        let published = dir.join(runtime_dir::STORE_FILE);
        Ok(Self::Nearby {
            published,
            password,
        })
    }

    /// Where to try next. What a monitor published may be stale: every second try goes to the default.
    pub(crate) fn address(&self, tries: u32) -> Result<ConnectionInfo, ConfigError> {
        let (info, password) = match self {
            Self::Configured { info, password } => (ConnectionInfo::clone(info), password),
            Self::Nearby {
                published,
                password,
            } => {
                let published = own_file(published).filter(|_| tries.is_multiple_of(2));
                let url = published.unwrap_or_else(|| runtime_dir::STORE_URL_DEFAULT.to_owned());
                (parse_url(&url)?, password)
            }
        };
        let Some(password) = password else {
            return Ok(info);
        };
        let settings = info.redis_settings().clone();
        Ok(info.set_redis_settings(settings.set_password(password.read()?)))
    }
}

impl Password {
    fn open(file: PathBuf) -> Result<Self, ConfigError> {
        let once = std::fs::metadata(&file).is_ok_and(|found| !found.is_file());
        let text = read(&file)?;
        let kept = once.then_some(text);
        Ok(Self { file, kept })
    }

    fn read(&self) -> Result<String, ConfigError> {
        match &self.kept {
            Some(kept) => Ok(kept.clone()),
            None => read(&self.file),
        }
    }
}

/// Shows the file and never what it holds.
impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Password").field(&self.file).finish()
    }
}

fn read(file: &Path) -> Result<String, ConfigError> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(ConfigError::Password(file.to_owned(), error)),
    }
}

fn parse_url(url: &str) -> Result<ConnectionInfo, ConfigError> {
    let info = url
        .into_connection_info()
        .map_err(|e| ConfigError::Url(e.to_string()))?;
    if !info.addr().is_supported() {
        return Err(ConfigError::Url("this build has no TLS".to_owned()));
    }
    let settings = info.redis_settings().clone();
    Ok(info.set_redis_settings(settings.set_protocol(redis::ProtocolVersion::RESP3)))
}

/// A file's text, if the file is ours: in a shared directory anybody could have put one there.
fn own_file(path: &Path) -> Option<String> {
    let ours = std::fs::metadata(path).ok()?.uid() == nix::unistd::geteuid().as_raw();
    let text = ours.then(|| std::fs::read_to_string(path).ok()).flatten()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(store: &Store) -> Option<String> {
        let address = store.address(0).unwrap();
        address.redis_settings().password().map(str::to_owned)
    }

    fn store(url: &str, file: Option<&Path>) -> Store {
        Store::new(Some(url.to_owned()), file.map(Path::to_owned)).unwrap()
    }

    #[test]
    fn a_password_file_is_read_for_each_try_and_wins_over_the_url() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        std::fs::write(&file, "one\n").unwrap();
        let store = store("redis://user:zero@h", Some(&file));
        assert_eq!(password(&store).as_deref(), Some("one"));
        std::fs::write(&file, "two\r\n").unwrap();
        assert_eq!(password(&store).as_deref(), Some("two"));
        std::fs::remove_file(&file).unwrap();
        let error = store.address(0).unwrap_err().to_string();
        assert!(error.contains("cannot read the password file"), "{error}");
        assert!(!format!("{store:?}{error}").contains("two"));
    }

    #[test]
    fn a_password_in_the_url_is_used_without_a_file() {
        let store = store("redis://user:zero@h", None);
        assert_eq!(password(&store).as_deref(), Some("zero"));
    }

    #[test]
    fn what_a_pipe_gave_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let write = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::write(pipe, "secret\n").unwrap()
        });
        let store = store("redis://h", Some(&pipe));
        write.join().unwrap();
        assert_eq!(password(&store).as_deref(), Some("secret"));
        assert_eq!(password(&store).as_deref(), Some("secret"));
        assert!(!format!("{store:?}").contains("secret"));
    }
}
