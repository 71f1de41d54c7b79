//! What a receiver is: the kinds, with the addresses and secrets of each.

use super::super::Secret;
use super::super::secret::SecretError;
use super::ReceiverError;
use heartbeat::wire::notification::Severity;
use lettre::message::Mailbox;
use std::path::PathBuf;

/// What a receiver is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A Slack channel, or of a product that takes the same format.
    Slack(Target),
    /// A Slack channel, by a bot that edits its own messages.
    SlackBot(Bot),
    /// A PagerDuty service.
    PagerDuty { url: String, routing_key: Secret },
    /// An Alertmanager; the token is for one behind a proxy.
    Alertmanager { url: String, token: Option<Secret> },
    /// Any program that takes Standard Webhooks.
    Webhook {
        target: Target,
        secret: Option<Secret>,
    },
    /// Mailboxes.
    Email(Box<Mail>),
    /// A command.
    Exec(Vec<String>),
    /// Standard output.
    Stdout(Form),
}

/// How a message looks on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON object a line, for programs.
    Json,
    /// Lines for a person.
    Text,
}

/// The dead man's switch: a URL that is pinged each minute.
#[derive(Clone, Debug)]
pub(crate) struct Deadman {
    pub(crate) target: Target,
    /// Its address may be of a private network.
    pub(crate) private: bool,
}

impl Deadman {
    /// Of the keys `deadman_url` or `deadman_url_file`, and `deadman_private`.
    pub(in crate::config) fn new(
        url: Option<String>,
        file: Option<PathBuf>,
        private: Option<bool>,
    ) -> Result<Option<Self>, ReceiverError> {
        let target = match (url, file) {
            (None, None) => match private {
                Some(_) => return Err(ReceiverError::Deadman("deadman_private has no effect")),
                None => return Ok(None),
            },
            (Some(url), None) => Target::Url(url),
            (None, Some(file)) => {
                let secret = Secret::open(file);
                Target::File(secret.map_err(|e| ReceiverError::Secret("deadman".to_owned(), e))?)
            }
            (Some(_), Some(_)) => {
                return Err(ReceiverError::Deadman(
                    "remove deadman_url or deadman_url_file",
                ));
            }
        };
        let url = target.read();
        let url = url.map_err(|error| ReceiverError::Secret("deadman".to_owned(), error))?;
        if !is_url(&url) {
            let why = "deadman_url must begin with https:// or http://";
            return Err(ReceiverError::Deadman(why));
        }
        let private = private.unwrap_or(false);
        Ok(Some(Self { target, private }))
    }
}

/// A bot in a Slack channel.
#[derive(Clone, Debug)]
pub(crate) struct Bot {
    /// Of the API.
    pub(crate) url: String,
    pub(crate) token: Secret,
    pub(crate) channel: String,
}

/// A mail server, the sender and the recipients.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) security: Security,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) from: Mailbox,
    pub(crate) to: Vec<Mailbox>,
}

/// When the connection to a mail server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// From the start.
    Tls,
    /// Once the server was asked to; a server that refuses gets nothing.
    StartTls,
    /// Never.
    None,
}

/// A URL that is no secret, or a file with one that is.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Url(String),
    File(Secret),
}

/// The URL, or the file where it is a secret.
impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::File(secret) => write!(f, "the URL in {secret}"),
        }
    }
}

impl Target {
    /// The URL; one in a file is read again.
    pub(crate) fn read(&self) -> Result<String, SecretError> {
        match self {
            Self::Url(url) => Ok(url.clone()),
            Self::File(secret) => secret.read(),
        }
    }

    /// What of it no error may repeat.
    pub(crate) fn secrets(&self, url: &str) -> Vec<String> {
        match self {
            Self::Url(_) => Vec::new(),
            Self::File(_) => {
                let path = url.splitn(4, '/').nth(3).unwrap_or_default();
                vec![url.to_owned(), path.to_owned()]
            }
        }
    }
}

impl Kind {
    /// A page wakes a person: only what is critical, unless the configuration says otherwise.
    pub(super) fn severities(&self) -> Vec<Severity> {
        match self {
            Self::PagerDuty { .. } => vec![Severity::Critical],
            Self::Slack(_)
            | Self::SlackBot(_)
            | Self::Alertmanager { .. }
            | Self::Webhook { .. }
            | Self::Email(_)
            | Self::Exec(_)
            | Self::Stdout(_) => {
                vec![Severity::Info, Severity::Warning, Severity::Critical]
            }
        }
    }

    /// The word of the configuration.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Slack(_) | Self::SlackBot(_) => "slack",
            Self::PagerDuty { .. } => "pagerduty",
            Self::Alertmanager { .. } => "alertmanager",
            Self::Webhook { .. } => "webhook",
            Self::Email(_) => "email",
            Self::Exec(_) => "exec",
            Self::Stdout(_) => "stdout",
        }
    }

    /// The files that it reads.
    pub(crate) fn files(&self) -> Vec<String> {
        let secrets = match self {
            Self::Slack(Target::File(secret)) => vec![secret],
            Self::PagerDuty { routing_key, .. } => vec![routing_key],
            Self::SlackBot(bot) => vec![&bot.token],
            Self::Alertmanager { token, .. } => token.iter().collect(),
            Self::Webhook { target, secret } => {
                let url = match target {
                    Target::File(url) => Some(url),
                    Target::Url(_) => None,
                };
                url.into_iter().chain(secret).collect()
            }
            Self::Email(mail) => mail.password.iter().collect(),
            Self::Slack(Target::Url(_)) | Self::Exec(_) | Self::Stdout(_) => Vec::new(),
        };
        secrets.into_iter().map(ToString::to_string).collect()
    }

    /// Whether it keeps open and closed apart; people who read a channel do not need to know that a notice is over.
    pub(super) fn tracks(&self) -> bool {
        match self {
            Self::PagerDuty { .. }
            | Self::SlackBot(_)
            | Self::Alertmanager { .. }
            | Self::Webhook { .. }
            | Self::Exec(_)
            | Self::Stdout(_) => true,
            Self::Slack(_) | Self::Email(_) => false,
        }
    }
}

pub(super) fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// How the connection is encrypted, the host, the port.
pub(super) fn server_of(url: &str) -> Option<(Security, String, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let (security, usual) = match scheme {
        "smtps" => (Security::Tls, 465),
        "smtp" => (Security::StartTls, 587),
        "smtp+plain" => (Security::None, 25),
        _ => return None,
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let host = crate::config::host_of(rest);
    let port = match rest.strip_prefix(host)? {
        "" => usual,
        port => port.strip_prefix(':')?.parse().ok()?,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-:_".contains(c);
    let is_host = !bare.is_empty() && bare.chars().all(fits);
    is_host.then(|| (security, bare.to_owned(), port))
}
