//! What a TLS connection trusts, and what it shows of itself: one configuration for every client of both programs.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files of a TLS client, each in PEM; they are read again for each connection, so new ones need no restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that are trusted, and no others; none are the machine's, or Mozilla's on a machine without any.
    pub ca: Option<PathBuf>,
    /// The client's certificate with its chain, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why there is no TLS client. A key's content is never repeated.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, is not readable, or is no PEM of this kind.
    #[error("cannot use {0} as a {1}: {2}")]
    File(PathBuf, &'static str, String),
    /// Certificate and key do not belong together, or the kind of key is not supported.
    #[error("cannot use the client certificate {0} with its key: {1}")]
    Identity(PathBuf, rustls::Error),
    /// No protocol version is left.
    #[error("no TLS here: {0}")]
    Setup(rustls::Error),
}

/// A client for these files. The server's certificate and name are always verified.
///
/// # Errors
/// A file cannot be used.
pub fn client(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let roots = match &files.ca {
        Some(file) => authorities(file)?,
        None => usual_authorities(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &files.identity else {
        return Ok(client.with_no_client_auth());
    };
    let chain = certificates(certificate, "client certificate")?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| TlsError::File(key.clone(), "key", error.to_string()))?;
    client
        .with_client_auth_cert(chain, secret)
        .map_err(|error| TlsError::Identity(certificate.clone(), error))
}

fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, "certificate authority")? {
        roots.add(certificate).map_err(|error| {
            TlsError::File(file.to_owned(), "certificate authority", error.to_string())
        })?;
    }
    Ok(roots)
}

/// The machine's authorities. An image with nothing in it has none: the list of Mozilla comes with the program.
fn usual_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        let _ = roots.add(certificate); // one that is broken trusts no one
    }
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn certificates(file: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refused = |why: String| TlsError::File(file.to_owned(), what, why);
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .map_err(|error| refused(error.to_string()))?
        .collect();
    let found = found.map_err(|error| refused(error.to_string()))?;
    if found.is_empty() {
        return Err(refused("it holds no certificate in PEM".to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(files: &TlsFiles) -> String {
        client(files).unwrap_err().to_string()
    }

    #[test]
    fn without_files_the_usual_authorities_are_trusted() {
        assert!(!usual_authorities().is_empty());
        assert!(client(&TlsFiles::default()).is_ok());
    }

    #[test]
    fn a_file_that_is_no_certificate_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        let files = TlsFiles {
            ca: Some(file.clone()),
            identity: None,
        };
        assert!(refusal(&files).contains("ca.pem"));
        std::fs::write(&file, "no certificate\n").unwrap();
        assert!(refusal(&files).ends_with("it holds no certificate in PEM"));
    }
}
