//! How the API server is reached: by a pod's service account, or by a kubeconfig. Files are read again for each rung: they
//! rotate.

use crate::recovery::client::{Answer, CallError, Endpoint, tls};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use serde_json::Value;
use std::path::{Path, PathBuf};
use yaml_rust2::{Yaml, YamlLoader};

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// A kubeconfig with the certificates of a hundred clusters.
const KUBECONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Where the credentials are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// This program runs in a pod: address, port, and the directory of the service account.
    Pod(String, String, PathBuf),
    /// A kubeconfig.
    File(PathBuf),
    /// Nothing names a cluster.
    Nowhere,
}

/// An API server and what hbmonitor shows it.
#[derive(Debug)]
pub(super) struct Access {
    endpoint: Endpoint,
    /// Before each path: a server behind a proxy.
    prefix: String,
    token: Option<String>,
}

/// What a kubeconfig says of its current context.
struct Kubeconfig {
    cluster: Yaml,
    user: Yaml,
    /// Relative paths start here.
    dir: PathBuf,
    name: String,
}

impl Place {
    /// `KUBECONFIG` comes first, then the pod's service account, then `~/.kube/config`, as for kubectl.
    pub(super) fn from_environment(variable: &impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        if let Some(paths) = set("KUBECONFIG") {
            let mut paths = paths.split(':').filter(|path| !path.is_empty());
            let first = paths.clone().next().unwrap_or_default().to_owned();
            let there = paths.find(|path| Path::new(path).exists());
            return Self::File(there.map_or(first, str::to_owned).into());
        }
        let address = set("KUBERNETES_SERVICE_HOST").zip(set("KUBERNETES_SERVICE_PORT"));
        if let Some((host, port)) = address {
            return Self::Pod(host, port, PathBuf::from(SERVICE_ACCOUNT));
        }
        let home = set("HOME").map(|home| Path::new(&home).join(".kube/config"));
        match home.filter(|path| path.exists()) {
            Some(path) => Self::File(path),
            None => Self::Nowhere,
        }
    }

    /// Reads what is there.
    pub(super) fn open(&self) -> Result<Access, String> {
        match self {
            Self::Pod(host, port, dir) => in_pod(host, port, dir),
            Self::File(path) => Kubeconfig::read(path)?.access(),
            Self::Nowhere => Err(
                "no cluster is known: run hbmonitor in a pod with a service account, or set KUBECONFIG"
                    .to_owned(),
            ),
        }
    }
}

impl Access {
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, CallError> {
        let path = format!("{}{path}", self.prefix);
        let token = self.token.as_deref();
        self.endpoint.call(method, &path, token, body).await
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.endpoint.fmt(f)
    }
}

fn in_pod(host: &str, port: &str, dir: &Path) -> Result<Access, String> {
    let remedy = "give hbmonitor's pod a service account (automountServiceAccountToken: true)";
    let read = |name: &str| {
        let path = dir.join(name);
        let text = std::fs::read_to_string(&path);
        text.map_err(|error| format!("cannot read {}: {error}; {remedy}", path.display()))
    };
    let token = read("token")?.trim().to_owned();
    let config = tls(read("ca.crt")?.as_bytes(), None)
        .map_err(|error| format!("cannot use {}/ca.crt: {error}; {remedy}", dir.display()))?;
    let number = port
        .parse()
        .map_err(|_| format!("KUBERNETES_SERVICE_PORT: expected a port, got {port:?}"))?;
    Ok(Access {
        endpoint: Endpoint::Tls(host.to_owned(), number, config),
        prefix: String::new(),
        token: Some(token),
    })
}

impl Kubeconfig {
    fn read(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let wrong = |why: &str| format!("kubeconfig {name}: {why}");
        let size = std::fs::metadata(path).map(|metadata| metadata.len());
        let text = match size {
            Ok(size) if size > KUBECONFIG_BYTES_MAX => return Err(wrong("it is larger than 1 MB")),
            _ => std::fs::read_to_string(path),
        };
        let text = text.map_err(|error| wrong(&format!("{error}; set KUBECONFIG")))?;
        let documents =
            YamlLoader::load_from_str(&text).map_err(|error| wrong(&error.to_string()))?;
        let Some(root) = documents.into_iter().next() else {
            return Err(wrong("it is empty"));
        };
        let named = |list: &str, key: &str, wanted: &str| {
            let all = root[list].as_vec().into_iter().flatten();
            let mut found = all.filter(|entry| entry["name"].as_str() == Some(wanted));
            let found = found.next().map(|entry| entry[key].clone());
            found.ok_or_else(|| {
                wrong(&format!(
                    "{list} has no {wanted:?}; see kubectl config view"
                ))
            })
        };
        let Some(current) = root["current-context"]
            .as_str()
            .filter(|name| !name.is_empty())
        else {
            return Err(wrong(
                "no current-context; choose one: kubectl config use-context",
            ));
        };
        let context = named("contexts", "context", current)?;
        let user = match context["user"].as_str().filter(|name| !name.is_empty()) {
            Some(user) => named("users", "user", user)?,
            None => Yaml::Null,
        };
        let cluster = named(
            "clusters",
            "cluster",
            context["cluster"].as_str().unwrap_or_default(),
        )?;
        Ok(Self {
            cluster,
            user,
            dir: path.parent().unwrap_or(Path::new(".")).to_owned(),
            name,
        })
    }

    fn access(&self) -> Result<Access, String> {
        if !self.user["exec"].is_badvalue() || !self.user["auth-provider"].is_badvalue() {
            return Err(self.wrong(
                "its user gets credentials from a plugin, which hbmonitor does not run; make a service account and put its token there (kubectl create token)",
            ));
        }
        let (endpoint, prefix) = self.endpoint()?;
        let token = match (self.user["token"].as_str(), self.user["tokenFile"].as_str()) {
            (Some(token), _) => Some(token.to_owned()),
            (None, Some(file)) => Some(self.text_of(file)?.trim().to_owned()),
            (None, None) => None,
        };
        Ok(Access {
            endpoint,
            prefix,
            token,
        })
    }

    fn endpoint(&self) -> Result<(Endpoint, String), String> {
        let server = self.cluster["server"].as_str().unwrap_or_default();
        let wrong = || {
            self.wrong(&format!(
                "expected a server as in https://HOST:6443, got {server:?}"
            ))
        };
        let (scheme, rest) = server.split_once("://").ok_or_else(wrong)?;
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let uri: hyper::http::uri::Authority = place.parse().map_err(|_| wrong())?;
        let host = uri.host().trim_matches(['[', ']']).to_owned();
        let path = path.trim_end_matches('/');
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("/{path}")
        };
        match scheme {
            "http" => Ok((Endpoint::Tcp(host, uri.port_u16().unwrap_or(80)), prefix)),
            "https" => {
                let port = uri.port_u16().unwrap_or(443);
                Ok((Endpoint::Tls(host, port, self.tls()?), prefix))
            }
            _ => Err(wrong()),
        }
    }

    fn tls(&self) -> Result<std::sync::Arc<tokio_rustls::rustls::ClientConfig>, String> {
        let Some(authority) = self.pem(&self.cluster, "certificate-authority")? else {
            return Err(self.wrong(
                "its cluster has no certificate-authority, and a server that is not verified is no cluster",
            ));
        };
        let certificate = self.pem(&self.user, "client-certificate")?;
        let key = self.pem(&self.user, "client-key")?;
        let own = certificate.as_deref().zip(key.as_deref());
        tls(&authority, own)
            .map_err(|error| self.wrong(&format!("its certificates cannot be used: {error}")))
    }

    /// The value of `KEY-data`, else the file that `KEY` names.
    fn pem(&self, of: &Yaml, key: &str) -> Result<Option<Vec<u8>>, String> {
        if let Some(data) = of[format!("{key}-data").as_str()].as_str() {
            let bytes = STANDARD.decode(data.trim());
            return bytes
                .map(Some)
                .map_err(|error| self.wrong(&format!("{key}-data is no base64: {error}")));
        }
        match of[key].as_str() {
            Some(file) => self.text_of(file).map(|text| Some(text.into_bytes())),
            None => Ok(None),
        }
    }

    fn text_of(&self, file: &str) -> Result<String, String> {
        let path = self.dir.join(file);
        std::fs::read_to_string(&path)
            .map_err(|error| self.wrong(&format!("cannot read {}: {error}", path.display())))
    }

    fn wrong(&self, why: &str) -> String {
        format!("kubeconfig {}: {why}", self.name)
    }
}
