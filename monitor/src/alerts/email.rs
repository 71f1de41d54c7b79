//! E-mail over SMTP, with TLS from the start (`smtps://`), after STARTTLS (`smtp://`), or without (`smtp+plain://`, for a relay
//! on this machine).
//!
//! A message that is repeated has the same Message-ID, and all messages of a page refer to it, so that they stand together.
//! What others wrote stands in the plain text alone; the library encodes the subject.

use super::http::is_private;
use super::text::{action_required, cut, evidence, shown_date};
use super::{Tools, later, refused};
use crate::config::receivers::{Mail, Receiver, Security};
use heartbeat::alerts::exchange::Outcome;
use heartbeat::wire::notification::{Message, Notification};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use std::error::Error;

/// The longest subject, in characters; a line of a header has 998 bytes at most.
const SUBJECT_MAX: usize = 200;
/// The longest body, in characters.
const BODY_MAX: usize = 20_000;

pub(super) async fn deliver(
    receiver: &Receiver,
    mail: &Mail,
    sent: &Notification,
    tools: &Tools,
) -> Outcome {
    let password = match mail.password.as_ref().map(crate::config::Secret::read) {
        Some(Ok(password)) => Some(password),
        Some(Err(error)) => return later(&error.to_string()),
        None => None,
    };
    if !receiver.private
        && let Err(why) = check_address(mail).await
    {
        return later(&why);
    }
    let letter = match letter(receiver, mail, sent, tools) {
        Ok(letter) => letter,
        Err(why) => return refused(&why),
    };
    let transport = match transport(mail, password.as_deref()) {
        Ok(transport) => transport,
        Err(error) => return later(&shown(&error, password.as_deref())),
    };
    match transport.send(letter).await {
        Ok(_) => Outcome::Taken,
        Err(error) if error.is_permanent() => refused(&shown(&error, password.as_deref())),
        Err(error) => later(&shown(&error, password.as_deref())),
    }
}

/// A server of a private network is asked only where the configuration allows it.
async fn check_address(mail: &Mail) -> Result<(), String> {
    let found = tokio::net::lookup_host((mail.host.as_str(), mail.port)).await;
    let mut found = found.map_err(|error| format!("{}: {error}", mail.host))?;
    match found.any(|address| is_private(address.ip())) {
        true => {
            Err("its address is of a private network; allow that with private = true".to_owned())
        }
        false => Ok(()),
    }
}

fn transport(
    mail: &Mail,
    password: Option<&str>,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, lettre::transport::smtp::Error> {
    let tls = || TlsParameters::new_rustls(mail.host.clone());
    let tls = match mail.security {
        Security::Tls => Tls::Wrapper(tls()?),
        Security::StartTls => Tls::Required(tls()?),
        Security::None => Tls::None,
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(mail.host.clone())
        .port(mail.port)
        .tls(tls);
    if let (Some(user), Some(password)) = (&mail.user, password) {
        builder = builder.credentials(Credentials::new(user.clone(), password.to_owned()));
    }
    Ok(builder.build())
}

fn letter(
    receiver: &Receiver,
    mail: &Mail,
    sent: &Notification,
    tools: &Tools,
) -> Result<lettre::Message, String> {
    let message = &sent.message;
    let domain = mail.from.email.domain();
    let header = |name: &'static str, value: &str| {
        HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
    };
    let mut builder = lettre::Message::builder()
        .from(mail.from.clone())
        .subject(cut(&message.headline(), SUBJECT_MAX))
        .date_now()
        .message_id(Some(format!("<{}@{domain}>", sent.id)))
        .references(format!("<{}@{domain}>", message.page))
        .header(ContentType::TEXT_PLAIN)
        // No holiday notice answers it.
        .raw_header(header("Auto-Submitted", "auto-generated"))
        .raw_header(header("X-HB-Page", message.page.as_str()));
    for to in &mail.to {
        builder = builder.to(to.clone());
    }
    let body = cut(&body(receiver, message, sent, tools), BODY_MAX);
    builder.body(body).map_err(|error| error.to_string())
}

/// The lines of every message: what, since, evidence, tried, next, you can.
fn body(receiver: &Receiver, message: &Message, sent: &Notification, tools: &Tools) -> String {
    let mut lines = vec![message.headline()];
    lines.extend(Some(message.what.clone()).filter(|what| !what.is_empty()));
    lines.push(String::new());
    let mut fields = vec![("Since", shown_date(message.since))];
    fields.extend(message.until.map(|until| ("Until", shown_date(until))));
    fields.push(("Evidence", evidence(message, receiver).join("\n          ")));
    fields.push(("Tried", message.tried.join("\n          ")));
    fields.push(("Next", message.next.clone()));
    fields.push(("You can", action_required(message).to_owned()));
    fields.push(("Host", message.host.clone().unwrap_or_default()));
    let instead = sent.instead_of.as_ref();
    let instead = instead.map(|name| format!("{name}, which takes no messages"));
    fields.push(("Instead", instead.unwrap_or_default()));
    fields.push(("Page", tools.links.of(message).unwrap_or_default()));
    let filled = fields.into_iter().filter(|(_, text)| !text.is_empty());
    lines.extend(filled.map(|(name, text)| format!("{name:<10}{text}")));
    lines.join("\n") + "\n"
}

/// An error with its causes, without the password.
fn shown(error: &lettre::transport::smtp::Error, password: Option<&str>) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let shown = inner.to_string();
        if !text.contains(&shown) {
            text = format!("{text}: {shown}");
        }
        cause = inner.source();
    }
    match password.filter(|password| !password.is_empty()) {
        Some(password) => text.replace(password, "(secret)"),
        None => text,
    }
}
