//! `[[receiver]]`: where notifications go. Secrets stand in files, which are read again for each delivery.

mod kind;

use super::secret::{Secret, SecretError};
use heartbeat::alerts::exchange::Receiver as Rule;
use heartbeat::wire::notification::{ReceiverName, Severity};
pub(crate) use kind::{Bot, Deadman, Form, Kind, Mail, Security, Target};
use kind::{is_url, server_of};
use lettre::message::Mailbox;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Every key of the table, for suggestions.
pub(super) const KEYS: [&str; 17] = [
    "name",
    "kind",
    "severity",
    "fallback",
    "url",
    "url_file",
    "private",
    "secret_file",
    "routing_key_file",
    "token_file",
    "command",
    "include_output",
    "from",
    "to",
    "user",
    "password_file",
    "channel",
];

const KINDS: [&str; 7] = [
    "slack",
    "pagerduty",
    "alertmanager",
    "webhook",
    "email",
    "exec",
    "stdout",
];
const PAGERDUTY: &str = "https://events.pagerduty.com";
const SLACK: &str = "https://slack.com";

/// The table as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiverFile {
    name: String,
    kind: String,
    severity: Option<Vec<String>>,
    fallback: Option<String>,
    url: Option<String>,
    url_file: Option<PathBuf>,
    private: Option<bool>,
    secret_file: Option<PathBuf>,
    routing_key_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    command: Option<Vec<String>>,
    include_output: Option<bool>,
    from: Option<String>,
    to: Option<Vec<String>>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    channel: Option<String>,
}

/// The receivers of a configuration that was read again, or why there are none.
pub(crate) type Reread = Result<Vec<Receiver>, String>;

/// A receiver that can be used.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    /// What it gets, and how.
    pub(crate) rule: Rule,
    /// What it is.
    pub(crate) kind: Kind,
    /// Its address may be of a private network.
    pub(crate) private: bool,
    /// What an agent printed may be part of its messages.
    pub(crate) include_output: bool,
}

/// Why a receiver cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiverError {
    /// Not a name, or used twice.
    #[error(
        "receiver {0:?}: a name has 1 to 64 letters, digits, dashes and underscores, and is used once"
    )]
    Name(String),
    /// Not a kind.
    #[error("receiver {0:?}: unknown kind {1:?}; expected one of {kinds}", kinds = KINDS.join(", "))]
    Kind(String, String),
    /// Not a severity.
    #[error("receiver {0:?}: unknown severity {1:?}; expected info, warning or critical")]
    Severity(String, String),
    /// A key that this kind needs.
    #[error("receiver {0:?}: {1} is missing")]
    Missing(String, &'static str),
    /// A key that this kind does not know.
    #[error("receiver {0:?}: {1} does not belong to kind {2:?}; remove it")]
    Foreign(String, &'static str, String),
    /// The fallback is not a receiver, or leads back.
    #[error(
        "receiver {0:?}: fallback {1:?} must be another receiver, whose own fallbacks do not lead back"
    )]
    Fallback(String, String),
    /// Not a URL.
    #[error("receiver {0:?}: url must begin with https:// or http://")]
    Url(String),
    /// The dead man's switch cannot be used.
    #[error("{0}")]
    Deadman(&'static str),
    /// Not the URL of a mail server.
    #[error(
        "receiver {0:?}: url must begin with smtps://, smtp:// (STARTTLS) or smtp+plain:// (no encryption), then HOST[:PORT]"
    )]
    MailUrl(String),
    /// Not an address of e-mail.
    #[error("receiver {0:?}: {1:?} is no e-mail address")]
    Address(String, String),
    /// A secret cannot be used.
    #[error("receiver {0:?}: {1}")]
    Secret(String, SecretError),
}

/// Checks all receivers.
pub(super) fn receivers(files: Vec<ReceiverFile>) -> Result<Vec<Receiver>, ReceiverError> {
    let mut receivers: Vec<Receiver> = Vec::new();
    for file in files {
        let receiver = file.check()?;
        let twice = |known: &Receiver| known.rule.name == receiver.rule.name;
        if receivers.iter().any(twice) {
            return Err(ReceiverError::Name(receiver.rule.name.to_string()));
        }
        receivers.push(receiver);
    }
    for receiver in &receivers {
        fallbacks_end(receiver, &receivers)?;
    }
    Ok(receivers)
}

fn fallbacks_end(receiver: &Receiver, all: &[Receiver]) -> Result<(), ReceiverError> {
    let mut seen = BTreeSet::from([&receiver.rule.name]);
    let mut at = receiver;
    while let Some(fallback) = &at.rule.fallback {
        let next = all.iter().find(|known| known.rule.name == *fallback);
        let (true, Some(next)) = (seen.insert(fallback), next) else {
            let name = receiver.rule.name.to_string();
            return Err(ReceiverError::Fallback(name, fallback.to_string()));
        };
        at = next;
    }
    Ok(())
}

impl Receiver {
    /// A person who reads standard output.
    pub(crate) fn reader(name: &str) -> Result<Self, ReceiverError> {
        let kind = Kind::Stdout(Form::Text);
        let name = ReceiverName::parse(name).map_err(|_| ReceiverError::Name(name.to_owned()))?;
        Ok(Self {
            rule: Rule {
                name,
                severities: kind.severities(),
                fallback: None,
                tracks: kind.tracks(),
                takes_changes: false,
                digests: false,
                renews: false,
                pace: None,
            },
            kind,
            private: false,
            include_output: true,
        })
    }
}

impl ReceiverFile {
    fn check(mut self) -> Result<Receiver, ReceiverError> {
        let name = self.name.clone();
        let parse = |text: &str| {
            ReceiverName::parse(text).map_err(|_| ReceiverError::Name(text.to_owned()))
        };
        let id = parse(&name)?;
        let fallback = self.fallback.take().as_deref().map(parse).transpose()?;
        let (private, include_output) = (self.private.take(), self.include_output.take());
        let severity = self.severity.take();
        let (url, url_file) = (self.url.clone(), self.url_file.clone());
        let kind = self.kind()?;
        self.nothing_left()?;
        let severities = match severity {
            Some(words) => severities(&name, &words)?,
            None => kind.severities(),
        };
        let rule = Rule {
            name: id,
            severities,
            fallback,
            tracks: kind.tracks(),
            takes_changes: matches!(kind, Kind::PagerDuty { .. }),
            digests: matches!(kind, Kind::Slack(_) | Kind::SlackBot(_)),
            renews: matches!(kind, Kind::Alertmanager { .. }),
            // Two receivers with one URL share its limit.
            pace: match &kind {
                Kind::Slack(_) => {
                    let file = url_file.map(|file| file.display().to_string());
                    Some(url.or(file).unwrap_or_default())
                }
                Kind::SlackBot(bot) => Some(format!("{} {}", bot.url, bot.channel)),
                Kind::PagerDuty { .. }
                | Kind::Alertmanager { .. }
                | Kind::Webhook { .. }
                | Kind::Email(_)
                | Kind::Exec(_)
                | Kind::Stdout(_) => None,
            },
        };
        Ok(Receiver {
            rule,
            kind,
            private: private.unwrap_or(false),
            include_output: include_output.unwrap_or(false),
        })
    }

    /// What it is; the keys that this kind knows are taken.
    fn kind(&mut self) -> Result<Kind, ReceiverError> {
        match self.kind.as_str() {
            "slack" if self.token_file.is_some() => {
                let file = self.token_file.take();
                let token = self.secret(file, "token_file")?;
                let missing = || ReceiverError::Missing(self.name.clone(), "channel");
                let channel = self.channel.take().ok_or_else(missing)?;
                let url = self.url.take().unwrap_or_else(|| SLACK.to_owned());
                Ok(Kind::SlackBot(Bot {
                    url: self.checked(url)?,
                    token,
                    channel,
                }))
            }
            "slack" => Ok(Kind::Slack(self.target()?)),
            "pagerduty" => {
                let file = self.routing_key_file.take();
                let routing_key = self.secret(file, "routing_key_file")?;
                routing_key
                    .read_routing_key()
                    .map_err(|error| ReceiverError::Secret(self.name.clone(), error))?;
                let url = self.url.take().unwrap_or_else(|| PAGERDUTY.to_owned());
                Ok(Kind::PagerDuty {
                    url: self.checked(url)?,
                    routing_key,
                })
            }
            "alertmanager" => {
                let url = self.url.take();
                let url = url.ok_or_else(|| ReceiverError::Missing(self.name.clone(), "url"))?;
                let url = self.checked(url)?;
                let token = match self.token_file.take() {
                    Some(file) => Some(self.secret(Some(file), "token_file")?),
                    None => None,
                };
                Ok(Kind::Alertmanager { url, token })
            }
            "webhook" => {
                let target = self.target()?;
                let secret = match self.secret_file.take() {
                    Some(file) => {
                        let secret = self.secret(Some(file), "secret_file")?;
                        secret
                            .read_signing_keys()
                            .map_err(|error| ReceiverError::Secret(self.name.clone(), error))?;
                        Some(secret)
                    }
                    None => None,
                };
                Ok(Kind::Webhook { target, secret })
            }
            "email" => Ok(Kind::Email(Box::new(self.mail()?))),
            "exec" => match self.command.take() {
                Some(command) if !command.is_empty() => Ok(Kind::Exec(command)),
                Some(_) | None => Err(ReceiverError::Missing(self.name.clone(), "command")),
            },
            "stdout" => Ok(Kind::Stdout(Form::Json)),
            _ => Err(ReceiverError::Kind(self.name.clone(), self.kind.clone())),
        }
    }

    fn mail(&mut self) -> Result<Mail, ReceiverError> {
        let missing = |key| ReceiverError::Missing(self.name.clone(), key);
        let (url, from) = (self.url.take(), self.from.take());
        let url = url.ok_or_else(|| missing("url"))?;
        let from = from.ok_or_else(|| missing("from"))?;
        let to = self.to.take().filter(|to| !to.is_empty());
        let to = to.ok_or_else(|| missing("to"))?;
        let user = self.user.take();
        let password = match self.password_file.take() {
            Some(file) => Some(self.secret(Some(file), "password_file")?),
            None => None,
        };
        match (&user, &password) {
            (Some(_), None) => return Err(missing("password_file")),
            (None, Some(_)) => return Err(missing("user")),
            (Some(_), Some(_)) | (None, None) => {}
        }
        let parts = server_of(&url);
        let (security, host, port) =
            parts.ok_or_else(|| ReceiverError::MailUrl(self.name.clone()))?;
        let mailbox = |text: String| {
            let parsed = text.parse::<Mailbox>();
            parsed.map_err(|_| ReceiverError::Address(self.name.clone(), text))
        };
        Ok(Mail {
            host,
            port,
            security,
            user,
            password,
            from: mailbox(from)?,
            to: to.into_iter().map(mailbox).collect::<Result<_, _>>()?,
        })
    }

    fn target(&mut self) -> Result<Target, ReceiverError> {
        match (self.url.take(), self.url_file.take()) {
            (Some(url), None) => Ok(Target::Url(self.checked(url)?)),
            (None, Some(file)) => {
                let secret = self.secret(Some(file), "url_file")?;
                let url = secret.read();
                let url = url.map_err(|error| ReceiverError::Secret(self.name.clone(), error))?;
                self.checked(url)?;
                Ok(Target::File(secret))
            }
            (Some(_), Some(_)) => Err(ReceiverError::Foreign(
                self.name.clone(),
                "url beside url_file",
                self.kind.clone(),
            )),
            (None, None) => Err(ReceiverError::Missing(self.name.clone(), "url_file")),
        }
    }

    fn secret(&self, file: Option<PathBuf>, key: &'static str) -> Result<Secret, ReceiverError> {
        let file = file.ok_or_else(|| ReceiverError::Missing(self.name.clone(), key))?;
        Secret::open(file).map_err(|error| ReceiverError::Secret(self.name.clone(), error))
    }

    fn checked(&self, url: String) -> Result<String, ReceiverError> {
        is_url(&url)
            .then_some(url)
            .ok_or_else(|| ReceiverError::Url(self.name.clone()))
    }

    /// A kind takes the keys that it knows.
    fn nothing_left(&self) -> Result<(), ReceiverError> {
        let left = [
            ("url", self.url.is_some()),
            ("url_file", self.url_file.is_some()),
            ("secret_file", self.secret_file.is_some()),
            ("routing_key_file", self.routing_key_file.is_some()),
            ("token_file", self.token_file.is_some()),
            ("command", self.command.is_some()),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
            ("user", self.user.is_some()),
            ("password_file", self.password_file.is_some()),
            ("channel", self.channel.is_some()),
        ];
        match left.into_iter().find(|(_, is_left)| *is_left) {
            Some((key, _)) => Err(ReceiverError::Foreign(
                self.name.clone(),
                key,
                self.kind.clone(),
            )),
            None => Ok(()),
        }
    }
}

fn severities(name: &str, words: &[String]) -> Result<Vec<Severity>, ReceiverError> {
    let known = [Severity::Info, Severity::Warning, Severity::Critical];
    let parse = |word: &String| {
        let found = known.into_iter().find(|severity| severity.as_str() == word);
        found.ok_or_else(|| ReceiverError::Severity(name.to_owned(), word.clone()))
    };
    words.iter().map(parse).collect()
}
