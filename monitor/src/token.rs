//! The token of unsafe requests: a configured file, else one that hbmonitor makes in its state directory and that the client
//! commands of the same user read there.

use hbshell::private_dir::{PrivateDir, PrivateDirError};
use std::fs::DirBuilder;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The file in the state directory.
const FILE: &str = "token";
/// Random bytes of a token that is made here.
const BYTES: usize = 32;
/// The longest token that is read, in bytes.
const LENGTH_MAX: u64 = 4096;

/// A token. Its debug text does not show it.
#[derive(Clone)]
pub(crate) struct Token(String);

/// Where a token comes from.
#[derive(Clone, Debug)]
pub(crate) struct TokenPlace {
    /// The configured file.
    pub(crate) file: Option<PathBuf>,
    /// The state directory.
    pub(crate) state_dir: Option<PathBuf>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The configured file cannot be read.
    #[error("cannot read the token file {0}: {1}; check --token-file")]
    Unreadable(PathBuf, std::io::Error),
    /// It holds no token.
    #[error(
        "the token file {0} must hold one line of printable characters without spaces; check --token-file"
    )]
    Content(PathBuf),
    /// No place to keep one.
    #[error("there is no HOME to keep a token in; name a file with --token-file")]
    NoPlace,
    /// The state directory cannot be used.
    #[error(
        "cannot keep a token in {0}: {1}; name a file with --token-file, or another directory with --state-dir"
    )]
    StateDir(PathBuf, std::io::Error),
    /// The state directory is not this user's alone.
    #[error(
        "cannot keep a token: {0}; change its owner and mode, or name another directory with --state-dir, or a file with --token-file"
    )]
    NotOurs(#[from] PrivateDirError),
}

impl TokenPlace {
    /// The token of a server, made when there is none.
    pub(crate) fn open(&self) -> Result<Token, TokenError> {
        if let Some(file) = &self.file {
            return read(file);
        }
        let dir = self.dir()?;
        if let Some(token) = dir.read(FILE).and_then(Token::parse) {
            return Ok(token);
        }
        let token = Token::make().map_err(|error| self.failed(error))?;
        self.write(&dir, &token)?;
        Ok(token)
    }

    /// Writes the token of a running server again when its file is gone: a cleaner of old files may have taken it, and the
    /// client commands of this user have no other.
    pub(crate) fn keep(&self, token: &Token) -> Result<(), TokenError> {
        if self.file.is_some() {
            return Ok(());
        }
        let dir = self.dir()?;
        match dir.read(FILE) {
            Some(_) => Ok(()),
            None => self.write(&dir, token),
        }
    }

    /// The token of a client; `None` when this user has none here.
    pub(crate) fn find(&self) -> Result<Option<Token>, TokenError> {
        if let Some(file) = &self.file {
            return read(file).map(Some);
        }
        let dir = self.state_dir.as_deref().map(PrivateDir::open);
        let text = dir.and_then(Result::ok).and_then(|dir| dir.read(FILE));
        Ok(text.and_then(Token::parse))
    }

    fn dir(&self) -> Result<PrivateDir, TokenError> {
        let path = self.state_dir.as_deref().ok_or(TokenError::NoPlace)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| self.failed(error))?;
        Ok(PrivateDir::open(path)?)
    }

    fn write(&self, dir: &PrivateDir, token: &Token) -> Result<(), TokenError> {
        let line = format!("{}\n", token.0);
        dir.write(FILE, &line).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: std::io::Error) -> TokenError {
        TokenError::StateDir(self.state_dir.clone().unwrap_or_default(), error)
    }
}

impl Token {
    /// Whether this text is the token, in a time that does not depend on where they differ.
    pub(crate) fn matches(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let same = own.iter().zip(given);
        let differ = same.fold(0, |differ, (a, b)| differ | (a ^ b));
        std::hint::black_box(differ) == 0 && own.len() == given.len()
    }

    /// For the header of a request.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    fn parse(text: String) -> Option<Self> {
        let text = text.trim();
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// Random.
    pub(crate) fn make() -> std::io::Result<Self> {
        let mut bytes = [0; BYTES];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
        Ok(Self(digits.collect()))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

fn read(file: &Path) -> Result<Token, TokenError> {
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(LENGTH_MAX).read_to_string(&mut text))
        .map_err(|error| TokenError::Unreadable(file.to_owned(), error))?;
    Token::parse(text).ok_or_else(|| TokenError::Content(file.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn place(state_dir: &Path) -> TokenPlace {
        TokenPlace {
            file: None,
            state_dir: Some(state_dir.to_owned()),
        }
    }

    #[test]
    fn a_server_makes_a_token_once_and_a_client_of_its_user_finds_it() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("deep/hb");
        assert!(place(&state).find().unwrap().is_none());
        let made = place(&state).open().unwrap();
        let mode = std::fs::metadata(state.join("token"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let again = place(&state).open().unwrap();
        let found = place(&state).find().unwrap().unwrap();
        assert!(made.matches(again.0.as_bytes()) && made.matches(found.0.as_bytes()));
        assert!(!made.matches(b"") && !made.matches(&made.0.as_bytes()[1..]));
        assert!(!format!("{made:?}").contains(&made.0));
    }

    #[test]
    fn a_token_that_a_cleaner_took_is_written_again_and_another_one_is_left() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("hb");
        let made = place(&state).open().unwrap();
        std::fs::remove_dir_all(&state).unwrap();
        place(&state).keep(&made).unwrap();
        let found = place(&state).find().unwrap().unwrap();
        assert!(made.matches(found.0.as_bytes()));
        let other = Token::make().unwrap();
        place(&state).keep(&other).unwrap();
        let found = place(&state).find().unwrap().unwrap();
        assert!(made.matches(found.0.as_bytes()));
    }

    #[test]
    fn a_file_that_holds_no_token_is_refused_with_its_name() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("token");
        let named = TokenPlace {
            file: Some(file.clone()),
            state_dir: None,
        };
        assert!(
            named
                .open()
                .unwrap_err()
                .to_string()
                .contains("--token-file")
        );
        for content in ["", " \n", "two words", "\u{e4}"] {
            std::fs::write(&file, content).unwrap();
            assert!(named.open().is_err(), "{content:?}");
        }
        std::fs::write(&file, "s3cret\n").unwrap();
        assert!(named.open().unwrap().matches(b"s3cret"));
    }
}
