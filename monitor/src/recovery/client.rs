//! HTTP/1.1 to an engine over a Unix socket, TCP or TLS: a connection for each call, whole and bounded answers.

use super::foreign;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// The largest answer: a listing of some thousand containers.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The connection itself; a packet filter that drops everything must not use up the rung's whole time.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Where an engine listens.
#[derive(Clone, Debug)]
pub(super) enum Endpoint {
    /// A socket of this machine.
    Unix(PathBuf),
    /// In the clear: a proxy, as a rule.
    Tcp(String, u16),
    /// With certificates of the engine's own.
    Tls(String, u16, Arc<ClientConfig>),
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    body: Bytes,
}

/// Why there is no answer. The engine may have carried out what was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("{0}")]
    Connect(std::io::Error),
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    #[error("{0}")]
    Http(String),
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("no certificate of an authority in it")]
    NoAuthority,
    #[error("{0}")]
    Pem(tokio_rustls::rustls::pki_types::pem::Error),
    #[error("{0}")]
    Rustls(#[from] tokio_rustls::rustls::Error),
}

impl Answer {
    /// The body; `Null` when it is no JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What the engine says, as a part of a sentence.
    pub(super) fn message(&self) -> String {
        let json = self.json();
        let message = json["message"].as_str().map(str::to_owned);
        let text = message.unwrap_or_else(|| String::from_utf8_lossy(&self.body).into_owned());
        let text = foreign(&text);
        if text.is_empty() {
            format!("status {}", self.status)
        } else {
            text
        }
    }
}

impl Endpoint {
    /// Sends one request and reads the whole answer. No limit of time but for the connection: that is the caller's.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        bearer: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Answer, CallError> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(HOST, self.host());
        if let Some(token) = bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| CallError::Http(error.to_string()))?;
        match self {
            Self::Unix(path) => {
                let stream = within(UnixStream::connect(path)).await;
                exchange(stream.map_err(CallError::Connect)?, request).await
            }
            Self::Tcp(host, port) => {
                let stream = within(TcpStream::connect((host.as_str(), *port))).await;
                exchange(stream.map_err(CallError::Connect)?, request).await
            }
            Self::Tls(host, port, config) => {
                let stream = within(TcpStream::connect((host.as_str(), *port))).await;
                let name = ServerName::try_from(host.clone())
                    .map_err(|error| CallError::Tls(std::io::Error::other(error)))?;
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = stream.map_err(CallError::Connect)?;
                let stream = within(connector.connect(name, stream)).await;
                exchange(stream.map_err(CallError::Tls)?, request).await
            }
        }
    }

    fn host(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Tcp(host, port) | Self::Tls(host, port, _) if host.contains(':') => {
                format!("[{host}]:{port}")
            }
            Self::Tcp(host, port) | Self::Tls(host, port, _) => format!("{host}:{port}"),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(..) | Self::Tls(..) => f.write_str(&self.host()),
        }
    }
}

/// A configuration that trusts these authorities and shows this certificate, all in PEM.
pub(super) fn tls(
    authorities: &[u8],
    own: Option<(&[u8], &[u8])>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities) {
        roots.add(certificate.map_err(TlsError::Pem)?)?;
    }
    if roots.is_empty() {
        return Err(TlsError::NoAuthority);
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match own {
        Some((certificates, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
            let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Pem)?;
            builder.with_client_auth_cert(chain.map_err(TlsError::Pem)?, key)?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

async fn within<T>(connecting: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
        Ok(result) => result,
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<Answer, CallError> {
    let http = |error: hyper::Error| CallError::Http(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(http)?;
    let mut answer = pin!(async move {
        let response = sender.send_request(request).await.map_err(http)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        Ok(Answer {
            status: head.status.as_u16(),
            body: body
                .map_err(|error| CallError::Http(error.to_string()))?
                .to_bytes(),
        })
    });
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // A server that closes after its answer: what it wrote is still to be read.
        _ = connection => answer.await,
    }
}
