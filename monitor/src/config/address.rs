//! Where the store is, and the password that opens it.

use super::ConfigError;
use redis::{ConnectionInfo, IntoConnectionInfo};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a store is. The password is not part of it until a connection is made.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    info: Box<ConnectionInfo>,
    password: Option<Password>,
}

/// A password in a file. The file is read again for each connection, so a rewritten one needs no restart of ours.
#[derive(Clone)]
pub(crate) struct Password {
    file: PathBuf,
    /// What came out of a pipe, as of a shell's `<(pass show redis)`: it cannot be read twice.
    kept: Option<String>,
}

impl Address {
    /// Takes a URL; the password of a file is used rather than one in the URL.
    pub(crate) fn new(url: &str, password: Option<Password>) -> Result<Self, ConfigError> {
        let info = url
            .into_connection_info()
            .map_err(|e| ConfigError::Url(e.to_string()))?;
        if !info.addr().is_supported() {
            return Err(ConfigError::Url("this build has no TLS".to_owned()));
        }
        let settings = info.redis_settings().clone();
        let settings = settings.set_protocol(redis::ProtocolVersion::RESP3);
        let info = Box::new(info.set_redis_settings(settings));
        Ok(Self { info, password })
    }

    /// What one connection is made with.
    pub(crate) fn resolve(&self) -> Result<ConnectionInfo, ConfigError> {
        let info = ConnectionInfo::clone(&self.info);
        let Some(password) = &self.password else {
            return Ok(info);
        };
        let settings = info.redis_settings().clone();
        Ok(info.set_redis_settings(settings.set_password(password.read()?)))
    }

    /// The number of the database.
    pub(crate) fn database(&self) -> i64 {
        self.info.redis_settings().db()
    }
}

/// Host and port, or the socket's path.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info.addr().fmt(f)
    }
}

impl Password {
    /// Takes a file, if it can be read.
    pub(crate) fn open(file: PathBuf) -> Result<Self, ConfigError> {
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
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Password").field(&self.file).finish()
    }
}

fn read(file: &Path) -> Result<String, ConfigError> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(ConfigError::Password(file.to_owned(), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_is_read_for_each_connection_and_wins_over_the_url() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        std::fs::write(&file, "one\n").unwrap();
        let password = Password::open(file.clone()).unwrap();
        let address = Address::new("redis://user:zero@h/3", Some(password)).unwrap();
        let found = || {
            let info = address.resolve().unwrap();
            info.redis_settings().password().unwrap().to_owned()
        };
        assert_eq!(found(), "one");
        std::fs::write(&file, "two\r\n").unwrap();
        assert_eq!(found(), "two");
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
}
