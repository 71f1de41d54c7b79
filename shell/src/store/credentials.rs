//! What a user gives beside the URL: a name, a password, certificates. What stands in files is read for each connection.

use super::AddressError;
use crate::tls::{self, TlsFiles};
use std::fmt;
use std::path::{Path, PathBuf};

/// What a user gives beside the URL, as it was given: by flag, variable or configuration file.
#[derive(Clone, Debug, Default)]
pub struct CredentialsGiven {
    /// The user's name in the store.
    pub username: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
    /// A file with the certificate authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// A file with the client's certificate.
    pub cert_file: Option<PathBuf>,
    /// A file with that certificate's key.
    pub key_file: Option<PathBuf>,
}

/// What a user gives beside the URL, checked; it overrides what the URL says.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    pub(super) username: Option<String>,
    pub(super) password: Option<Password>,
    pub(super) tls: TlsFiles,
}

/// A password in a file. The file is read again for each connection, so a new password needs no restart.
#[derive(Clone)]
pub(super) struct Password {
    file: PathBuf,
    /// What a pipe delivered, as of a shell's `<(pass show redis)`: it cannot be read twice.
    kept: Option<String>,
}

impl CredentialsGiven {
    /// Checks that each file can be used now.
    ///
    /// # Errors
    /// One cannot, or half of a client's identity is missing.
    pub fn open(self) -> Result<Credentials, AddressError> {
        let identity = match (self.cert_file, self.key_file) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(AddressError::HalfIdentity),
        };
        let tls = TlsFiles {
            ca: self.ca_file,
            identity,
        };
        if tls != TlsFiles::default() {
            tls::client(&tls)?;
        }
        Ok(Credentials {
            username: self.username,
            password: self.password_file.map(Password::open).transpose()?,
            tls,
        })
    }
}

impl Credentials {
    /// Whether nothing was given: no secret could go to the wrong store.
    pub fn is_empty(&self) -> bool {
        self.username.is_none() && self.password.is_none() && self.tls == TlsFiles::default()
    }
}

impl Password {
    /// Checks that the file is readable.
    fn open(file: PathBuf) -> Result<Self, AddressError> {
        let once = std::fs::metadata(&file).is_ok_and(|found| !found.is_file());
        let text = read(&file)?;
        let kept = once.then_some(text);
        Ok(Self { file, kept })
    }

    pub(super) fn read(&self) -> Result<String, AddressError> {
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

fn read(file: &Path) -> Result<String, AddressError> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(AddressError::Password(file.to_owned(), error)),
    }
}
