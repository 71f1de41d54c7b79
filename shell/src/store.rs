//! The store's address and the password for it, as both programs take them from their users.

use crate::private_dir::PrivateDir;
use heartbeat::base::runtime_dir;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a store is. A password from a file is added when a connection is made.
#[derive(Clone, Debug)]
pub struct Address {
    info: Box<ConnectionInfo>,
    password: Option<Password>,
}

/// A password in a file. The file is read again for each connection, so a new password needs no restart.
#[derive(Clone)]
pub struct Password {
    file: PathBuf,
    /// What a pipe delivered, as of a shell's `<(pass show redis)`: it cannot be read twice.
    kept: Option<String>,
}

/// Why there is no address. The URL itself is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Not the URL of a store.
    #[error("invalid store URL ({0}); write it as in redis://127.0.0.1:6379")]
    Url(String),
    /// The password file is not readable.
    #[error("cannot read the password file {0}: {1}")]
    Password(PathBuf, std::io::Error),
}

impl Address {
    /// Parses a URL; the password from a file overrides one in the URL.
    ///
    /// # Errors
    /// The text is not a URL of a store, or it asks for TLS.
    pub fn new(url: &str, password: Option<Password>) -> Result<Self, AddressError> {
        let info = url
            .into_connection_info()
            .map_err(|error| AddressError::Url(error.to_string()))?;
        if !info.addr().is_supported() {
            return Err(AddressError::Url("this build has no TLS".to_owned()));
        }
        let settings = info.redis_settings().clone();
        let settings = settings.set_protocol(redis::ProtocolVersion::RESP3);
        let info = Box::new(info.set_redis_settings(settings));
        Ok(Self { info, password })
    }

    /// What one connection is made with.
    ///
    /// # Errors
    /// The password file is not readable any more.
    pub fn resolve(&self) -> Result<ConnectionInfo, AddressError> {
        let info = ConnectionInfo::clone(&self.info);
        let Some(password) = &self.password else {
            return Ok(info);
        };
        let settings = info.redis_settings().clone();
        Ok(info.set_redis_settings(settings.set_password(password.read()?)))
    }

    /// The number of the database.
    pub fn database(&self) -> i64 {
        self.info.redis_settings().db()
    }

    /// Whether the store is on this machine: retries disturb no network.
    pub fn is_local(&self) -> bool {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, _) => {
                host == "localhost"
                    || host
                        .parse()
                        .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
            }
            ConnectionAddr::Unix(_) => true,
            ConnectionAddr::TcpTls { .. } | _ => false,
        }
    }
}

/// Host and port, or the socket's path.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info.addr().fmt(f)
    }
}

impl Password {
    /// Checks that the file is readable.
    ///
    /// # Errors
    /// It is not.
    pub fn open(file: PathBuf) -> Result<Self, AddressError> {
        let once = std::fs::metadata(&file).is_ok_and(|found| !found.is_file());
        let text = read(&file)?;
        let kept = once.then_some(text);
        Ok(Self { file, kept })
    }

    fn read(&self) -> Result<String, AddressError> {
        match &self.kept {
            Some(kept) => Ok(kept.clone()),
            None => read(&self.file),
        }
    }
}

/// Shows the file, never its content.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Password").field(&self.file).finish()
    }
}

/// The directory in which programs of this user keep what survives a restart; `None` for a user without a home.
pub fn state_directory() -> Option<PathBuf> {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    let uid = nix::unistd::geteuid().as_raw();
    runtime_dir::state_dir(path("XDG_STATE_HOME"), path("HOME"), uid)
}

/// The URL that an hbmonitor of this user published in the runtime directory; `None` when there is none, or when the
/// directory or the file may be another user's.
pub fn published_url() -> Option<String> {
    let text = PrivateDir::of_user_if_there()?.read(runtime_dir::STORE_FILE)?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn read(file: &Path) -> Result<String, AddressError> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(AddressError::Password(file.to_owned(), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(address: &Address) -> String {
        let info = address.resolve().unwrap();
        info.redis_settings().password().unwrap().to_owned()
    }

    #[test]
    fn a_password_file_is_read_for_each_connection_and_wins_over_the_url() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        std::fs::write(&file, "one\n").unwrap();
        let opened = Password::open(file.clone()).unwrap();
        let address = Address::new("redis://user:zero@h/3", Some(opened)).unwrap();
        assert_eq!(password(&address), "one");
        std::fs::write(&file, "two\r\n").unwrap();
        assert_eq!(password(&address), "two");
        std::fs::remove_file(&file).unwrap();
        let error = address.resolve().unwrap_err().to_string();
        assert!(error.contains("cannot read the password file"), "{error}");
        assert_eq!(
            (address.to_string(), address.database()),
            ("h:6379".to_owned(), 3)
        );
        let shown = format!("{address:?}{error}");
        assert!(!shown.contains("zero") && !shown.contains("two"), "{shown}");
    }

    #[test]
    fn a_password_in_the_url_is_used_without_a_file() {
        let address = Address::new("redis://user:zero@h", None).unwrap();
        assert_eq!(password(&address), "zero");
    }

    #[test]
    fn what_a_pipe_delivered_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let write = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::write(pipe, "secret\n").unwrap()
        });
        let opened = Password::open(pipe).unwrap();
        let address = Address::new("redis://h", Some(opened)).unwrap();
        write.join().unwrap();
        assert_eq!(password(&address), "secret");
        assert_eq!(password(&address), "secret");
        assert!(!format!("{address:?}").contains("secret"));
    }

    #[test]
    fn a_bad_url_is_refused_and_its_password_is_not_repeated() {
        for url in [
            "http://user:secret@h",
            "redis",
            "rediss://user:secret@h",
            "redis://:secret@h:x",
        ] {
            let error = Address::new(url, None).unwrap_err().to_string();
            assert!(
                error.contains("redis://127.0.0.1:6379") && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn loopback_and_sockets_are_local() {
        let local = |url| Address::new(url, None).unwrap().is_local();
        assert!(
            local("redis://127.0.0.1") && local("redis://localhost") && local("redis+unix:///s")
        );
        assert!(!local("redis://store.example"));
    }
}
