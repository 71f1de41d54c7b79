//! The client of a monitor's HTTP: one request, one JSON answer, and errors that name the way out.

use super::terminal::plain;
use crate::token::{Token, TokenError, TokenPlace};
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long the monitor may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The largest answer, in bytes: a listing of 100,000 agents has about 80 MB.
const ANSWER_MAX: usize = 512 << 20;
/// A stream brings at least a comment every 15 s.
const SILENT_MAX: Duration = Duration::from_secs(40);
/// The monitor of this machine.
const URL_DEFAULT: &str = "http://127.0.0.1:7410";

/// Where the monitor is, and what it is asked with.
#[derive(Debug)]
pub(crate) struct Client {
    /// Without a slash at its end.
    url: String,
    /// `host:port` of the connection.
    authority: String,
    /// What stands before each path.
    prefix: String,
    token: TokenPlace,
}

/// Events as they come.
#[derive(Debug)]
pub(crate) struct EventStream {
    body: Body,
    driven: JoinHandle<()>,
}

/// Why there is no answer, or none that helps.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Not an address that can be asked.
    #[error(
        "--url: expected a URL as in {URL_DEFAULT}, got {0:?}; for https use a tunnel, as in ssh -L 7410:127.0.0.1:7410 HOST"
    )]
    Url(String),
    /// No connection.
    #[error(
        "cannot reach the monitor at {url}: {error}\n  not running here?   hbmonitor\n  running elsewhere?  hbmonitor {command} --url http://monitor.example:7410    (or set HB_URL)"
    )]
    Unreachable {
        /// Of the monitor.
        url: String,
        /// What was asked.
        command: String,
        /// Why.
        error: std::io::Error,
    },
    /// A connection without an answer.
    #[error(
        "the monitor at {0} does not answer within 5 s\n  is it alive?        curl {0}/-/healthy"
    )]
    Silent(String),
    /// The answer is none of hbmonitor's.
    #[error("what answers at {0} is no hbmonitor: {1}; check --url")]
    Stranger(String, String),
    /// A token is needed.
    #[error(
        "{why}\n  on the monitor's machine, as its user:  hbmonitor {command}\n  with a state directory of its own:      HB_STATE_DIR=DIR hbmonitor {command}\n  elsewhere:                              HB_TOKEN_FILE=FILE hbmonitor {command}"
    )]
    Token {
        /// The monitor's words.
        why: String,
        /// What was asked.
        command: String,
    },
    /// The token cannot be read.
    #[error(transparent)]
    TokenFile(#[from] TokenError),
    /// The monitor refuses.
    #[error("{1}")]
    Refused(StatusCode, String),
}

impl ClientError {
    /// Whether the monitor does not have what it was asked about.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(StatusCode::NOT_FOUND, _))
    }
}

impl Client {
    /// A client of the monitor at this URL, or at the usual one.
    ///
    /// # Errors
    /// Not an `http` URL.
    pub(crate) fn new(url: Option<String>, token: TokenPlace) -> Result<Self, ClientError> {
        let url = url.unwrap_or_else(|| URL_DEFAULT.to_owned());
        let wrong = || ClientError::Url(url.clone());
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() || authority.contains(['@', '?', '#', ' ']) {
            return Err(wrong());
        }
        let has_port = crate::config::host_of(authority).len() < authority.len();
        let authority = if has_port {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        let prefix = prefix.trim_end_matches('/');
        let prefix = if prefix.is_empty() {
            String::new()
        } else {
            format!("/{prefix}")
        };
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            authority,
            prefix,
            token,
        })
    }

    /// Reads. `command` is what the user typed, for the errors.
    pub(crate) async fn get(&self, path: &str, command: &str) -> Result<Value, ClientError> {
        let request = self.request(Method::GET, path, None, Body::empty())?;
        self.answer(request, command).await
    }

    /// Reads an answer that has this field: what another server answers may be JSON too, and is no fleet in which all is well.
    pub(crate) async fn get_with(
        &self,
        field: &str,
        path: &str,
        command: &str,
    ) -> Result<Value, ClientError> {
        let answer = self.get(path, command).await?;
        if answer.get(field).is_none_or(Value::is_null) {
            return Err(self.stranger(format!("its answer has no {field:?}")));
        }
        Ok(answer)
    }

    /// Acts, with the token.
    pub(crate) async fn post(
        &self,
        path: &str,
        body: &Value,
        command: &str,
    ) -> Result<Value, ClientError> {
        let token = self.token.find()?;
        let body = Body::from(body.to_string());
        let request = self.request(Method::POST, path, token, body)?;
        self.answer(request, command).await
    }

    /// Opens a stream of events, behind the one of this number.
    pub(crate) async fn stream(
        &self,
        path: &str,
        last: Option<u64>,
        command: &str,
    ) -> Result<EventStream, ClientError> {
        let mut request = self.request(Method::GET, path, None, Body::empty())?;
        if let Some(last) = last {
            let name = header::HeaderName::from_static("last-event-id");
            request.headers_mut().insert(name, last.into());
        }
        let asked = tokio::time::timeout(ANSWER_WITHIN, self.send(request, command)).await;
        let (answer, driven) = asked.map_err(|_| ClientError::Silent(self.url.clone()))??;
        if !answer.status().is_success() {
            let why = format!("it answers {}", answer.status());
            return Err(self.stranger(why));
        }
        Ok(EventStream {
            body: Body::new(answer.into_body()),
            driven,
        })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<Token>,
        body: Body,
    ) -> Result<Request<Body>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            let bearer = format!("Bearer {}", token.text());
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let request = request.body(body);
        request.map_err(|_| ClientError::Url(self.url.clone()))
    }

    async fn answer(&self, request: Request<Body>, command: &str) -> Result<Value, ClientError> {
        let asked = tokio::time::timeout(ANSWER_WITHIN, self.exchange(request, command)).await;
        let (code, body) = asked.map_err(|_| ClientError::Silent(self.url.clone()))??;
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        let Some(value) = value else {
            return Err(self.stranger(format!("it answers {code} without JSON")));
        };
        if code.is_success() {
            return Ok(value);
        }
        let why = plain(value["error"].as_str().unwrap_or("it gives no reason"));
        if code == StatusCode::UNAUTHORIZED {
            return Err(ClientError::Token {
                why,
                command: command.to_owned(),
            });
        }
        Err(ClientError::Refused(code, why))
    }

    async fn exchange(
        &self,
        request: Request<Body>,
        command: &str,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let (answer, driven) = self.send(request, command).await?;
        let code = answer.status();
        let body = to_bytes(Body::new(answer.into_body()), ANSWER_MAX).await;
        driven.abort();
        let body = body.map_err(|error| self.stranger(error.to_string()))?;
        Ok((code, body))
    }

    /// Sends the request; the answer's body comes as long as the task runs.
    async fn send(
        &self,
        request: Request<Body>,
        command: &str,
    ) -> Result<(Response<Incoming>, JoinHandle<()>), ClientError> {
        let unreachable = |error| ClientError::Unreachable {
            url: self.url.clone(),
            command: command.to_owned(),
            error,
        };
        let connected = TcpStream::connect(&self.authority).await;
        let stream = TokioIo::new(connected.map_err(unreachable)?);
        let handshake = hyper::client::conn::http1::handshake(stream).await;
        let (mut sender, connection) =
            handshake.map_err(|error| self.stranger(error.to_string()))?;
        let driven = tokio::spawn(async move {
            let _ = connection.await; // its error is that of the request
        });
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| self.stranger(error.to_string()))?;
        Ok((answer, driven))
    }

    fn stranger(&self, why: String) -> ClientError {
        ClientError::Stranger(self.url.clone(), why)
    }
}

impl EventStream {
    /// The next bytes; `None` when the stream has ended or nothing came for longer than the monitor keeps silent.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let frame = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context));
        let frame = timeout(SILENT_MAX, frame).await.ok()??;
        frame.ok()?.into_data().ok()
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.driven.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Result<Client, ClientError> {
        let token = TokenPlace {
            file: None,
            state_dir: None,
        };
        Client::new(Some(url.to_owned()), token)
    }

    #[test]
    fn a_url_has_a_host_and_may_have_a_port_and_a_path() {
        for (url, authority, prefix) in [
            ("http://hb.example", "hb.example:80", ""),
            ("http://hb.example:7410/", "hb.example:7410", ""),
            ("http://[::1]/hb/", "[::1]:80", "/hb"),
        ] {
            let client = client(url).unwrap();
            assert_eq!((&*client.authority, &*client.prefix), (authority, prefix));
        }
        for url in ["hb.example", "https://hb.example", "http://", "http://u@h"] {
            assert!(client(url).is_err(), "{url}");
        }
    }
}
