//! Secrets in files: read for each use, never kept, never shown.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::Read;
use std::path::PathBuf;

/// Larger than any URL, key or password.
const BYTES_MAX: u64 = 16 * 1024;
const ROUTING_KEY_LENGTH: usize = 32;

/// A file with a secret.
#[derive(Clone, Debug)]
pub(crate) struct Secret(PathBuf);

/// Why a secret cannot be used. It is never repeated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// The file is not readable.
    #[error("cannot read {0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// Nothing is in it.
    #[error("{0} is empty")]
    Empty(PathBuf),
    /// Not a key of PagerDuty.
    #[error("{0} holds no integration key of PagerDuty: 32 letters and digits")]
    RoutingKey(PathBuf),
    /// Not a secret of Standard Webhooks.
    #[error(
        "{0} holds no signing secret: whsec_ and the base64 of 24 to 64 bytes, one a line, two at most"
    )]
    SigningKey(PathBuf),
}

/// The file, never what is in it.
impl std::fmt::Display for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.display())
    }
}

impl Secret {
    /// A file that is readable and not empty.
    pub(crate) fn open(file: PathBuf) -> Result<Self, SecretError> {
        let secret = Self(file);
        secret.read()?;
        Ok(secret)
    }

    /// The first line.
    pub(crate) fn read(&self) -> Result<String, SecretError> {
        let lines = self.lines()?;
        let first = lines.into_iter().next();
        first.ok_or_else(|| SecretError::Empty(self.0.clone()))
    }

    /// A key of PagerDuty.
    pub(crate) fn read_routing_key(&self) -> Result<String, SecretError> {
        let key = self.read()?;
        let fits =
            key.len() == ROUTING_KEY_LENGTH && key.chars().all(|c| c.is_ascii_alphanumeric());
        fits.then_some(key)
            .ok_or_else(|| SecretError::RoutingKey(self.0.clone()))
    }

    /// The keys that sign, the new one first: both sign while they are rotated.
    pub(crate) fn read_signing_keys(&self) -> Result<Vec<Vec<u8>>, SecretError> {
        let wrong = || SecretError::SigningKey(self.0.clone());
        let key = |line: &str| {
            let key = STANDARD.decode(line.strip_prefix("whsec_")?).ok()?;
            (24..=64).contains(&key.len()).then_some(key)
        };
        let keys: Option<Vec<Vec<u8>>> = self.lines()?.iter().map(|line| key(line)).collect();
        let keys = keys.filter(|keys| (1..=2).contains(&keys.len()));
        keys.ok_or_else(wrong)
    }

    fn lines(&self) -> Result<Vec<String>, SecretError> {
        let mut text = String::new();
        std::fs::File::open(&self.0)
            .and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text))
            .map_err(|error| SecretError::Unreadable(self.0.clone(), error))?;
        let lines = text.lines().map(str::trim);
        Ok(lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect())
    }
}
