//! Against answers in the shape of a real API server's, over TLS.

mod asked;

use super::*;
use crate::recovery::tests::job;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heartbeat::fleet::ladder::rung::Rung;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

/// An API server that answers in the words of a real one (1.37), in order.
struct Server {
    port: u16,
    authority: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: &[(&'static str, Value)]) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let own = own.signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(own.pem().as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            authority: issuer.pem(),
            asked: Arc::default(),
        };
        let (answers, asked) = (answers.to_vec(), Arc::clone(&server.asked));
        tokio::spawn(async move {
            for (head, body) in answers {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let request = read_request(&mut stream).await;
                asked.lock().unwrap().push(request);
                let body = body.to_string();
                let answer = format!(
                    "HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
                let _ = stream.shutdown().await;
            }
        });
        server
    }

    /// As it is mounted into a pod.
    fn in_pod(&self, dir: &Path) -> Kubernetes {
        std::fs::write(dir.join("token"), "secret-token\n").unwrap();
        std::fs::write(dir.join("ca.crt"), &self.authority).unwrap();
        let (host, port) = ("127.0.0.1".to_owned(), self.port.to_string());
        Kubernetes {
            place: Place::Pod(host, port, dir.to_owned()),
            delete: Ok(false),
            own: runtime("agents/hbmonitor-0"),
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Head and body; the bodies here are short.
async fn read_request(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut request = String::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).await.unwrap();
        request.push_str(&String::from_utf8_lossy(&piece[..count]));
        let Some((head, body)) = request.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse().ok())?
        });
        if count == 0 || body.len() >= length.unwrap_or(0) {
            return request;
        }
    }
}

fn runtime(id: &str) -> Runtime {
    Runtime {
        kind: "kubernetes".to_owned(),
        id: id.to_owned(),
    }
}

fn pod_job(id: &str) -> Job {
    let mut job = job(Rung::Kubernetes);
    job.runtime = Some(runtime(id));
    job
}

fn pod(more: &Value) -> (&'static str, Value) {
    let mut metadata = json!({
        "name": "writer-0", "namespace": "agents", "uid": "0c1b",
        "ownerReferences": [{"kind": "StatefulSet", "name": "writer", "controller": true}]
    });
    for (key, value) in more.as_object().unwrap() {
        metadata[key] = value.clone();
    }
    ("200 OK", json!({"kind": "Pod", "metadata": metadata}))
}

fn status(message: &str) -> Value {
    json!({"kind": "Status", "status": "Failure", "message": message})
}

async fn played(answers: &[(&'static str, Value)]) -> (Result<String, Obstacle>, Vec<String>) {
    let server = Server::start(answers).await;
    let dir = tempfile::tempdir().unwrap();
    let result = server
        .in_pod(dir.path())
        .evict(&pod_job("agents/writer-0"))
        .await;
    (result, server.asked())
}

#[tokio::test]
async fn a_pod_is_evicted_by_its_uid_and_its_controller_is_named() {
    let created = (
        "201 Created",
        json!({"kind": "Status", "status": "Success"}),
    );
    let (result, asked) = played(&[pod(&json!({})), created]).await;
    assert_eq!(
        result.as_deref(),
        Ok("Kubernetes evicted the pod agents/writer-0; its StatefulSet writer makes another one")
    );
    assert!(
        asked[0].starts_with("GET /api/v1/namespaces/agents/pods/writer-0 HTTP/1.1"),
        "{asked:?}"
    );
    assert!(
        asked[0].contains("authorization: Bearer secret-token"),
        "{asked:?}"
    );
    assert!(
        asked[1].starts_with("POST /api/v1/namespaces/agents/pods/writer-0/eviction "),
        "{asked:?}"
    );
    let body: Value = serde_json::from_str(asked[1].split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(
        (
            &body["apiVersion"],
            &body["kind"],
            &body["deleteOptions"]["preconditions"]["uid"]
        ),
        (&json!("policy/v1"), &json!("Eviction"), &json!("0c1b"))
    );
}

#[tokio::test]
async fn a_pod_is_deleted_only_when_the_configuration_says_so() {
    let server = Server::start(&[pod(&json!({})), ("200 OK", json!({}))]).await;
    let dir = tempfile::tempdir().unwrap();
    let mut kubernetes = server.in_pod(dir.path());
    kubernetes.delete = Ok(true);
    let result = kubernetes.evict(&pod_job("agents/writer-0")).await;
    assert!(result.is_ok_and(|detail| detail.contains("deleted")));
    let asked = server.asked();
    assert!(
        asked[1].starts_with("DELETE /api/v1/namespaces/agents/pods/writer-0 "),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_disruption_budget_puts_the_eviction_off() {
    let why = status("Cannot evict pod as it would violate the pod's disruption budget.");
    for (head, after) in [
        ("429 Too Many Requests\r\nRetry-After: 5", 5),
        ("429 Too Many Requests", 10),
        ("429 Too Many Requests\r\nRetry-After: 86400", 20),
    ] {
        let (result, _) = played(&[pod(&json!({})), (head, why.clone())]).await;
        let Err(Obstacle::Later(text, time)) = result else {
            panic!("{head}: {result:?}");
        };
        assert_eq!(time, Duration::from_secs(after), "{head}");
        assert!(
            text.contains("disruption budget") && text.contains("kubectl get pdb"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_pod_that_would_not_come_back_is_left_alone() {
    for (owners, word) in [
        (json!([]), "no controller"),
        (
            json!([{"kind": "ReplicaSet", "name": "x"}]),
            "no controller",
        ),
        (
            json!([{"kind": "Node", "name": "n", "controller": true}]),
            "static pod",
        ),
    ] {
        let (result, asked) = played(&[pod(&json!({"ownerReferences": owners}))]).await;
        assert!(
            matches!(&result, Err(Obstacle::NotHere(why)) if why.contains(word)),
            "{result:?}"
        );
        assert_eq!(asked.len(), 1, "nothing but a look");
    }
}

#[tokio::test]
async fn a_pod_on_its_way_out_needs_nothing_more() {
    let (result, asked) =
        played(&[pod(&json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}))]).await;
    assert!(result.is_ok_and(|detail| detail.contains("being deleted already")));
    assert_eq!(asked.len(), 1);
    let (gone, _) = played(&[("404 Not Found", status("pods \"writer-0\" not found"))]).await;
    assert!(matches!(gone, Err(Obstacle::NotHere(_))), "{gone:?}");
}

#[tokio::test]
async fn each_refusal_has_the_servers_words_and_a_remedy() {
    let forbidden = "pods \"writer-0\" is forbidden: User \"system:serviceaccount:hb:hb\" cannot create resource \"pods/eviction\"";
    for (answers, words) in [
        (
            vec![("401 Unauthorized", status("Unauthorized"))],
            ["Unauthorized", "renew the token"],
        ),
        (
            vec![("403 Forbidden", status("pods is forbidden"))],
            ["may not get pods", "Role"],
        ),
        (
            vec![pod(&json!({})), ("403 Forbidden", status(forbidden))],
            [
                "cannot create resource",
                "may not create pods/eviction in agents",
            ],
        ),
        (
            vec![
                pod(&json!({})),
                (
                    "500 Internal Server Error",
                    status("This pod has more than one PodDisruptionBudget"),
                ),
            ],
            ["more than one PodDisruptionBudget", "kubectl describe pod"],
        ),
    ] {
        let (result, _) = played(&answers).await;
        let Err(Obstacle::Failed(why)) = result else {
            panic!("{result:?}");
        };
        assert!(words.iter().all(|word| why.contains(word)), "{why}");
    }
}

#[tokio::test]
async fn a_server_with_another_authority_is_not_believed() {
    let (server, other) = (
        Server::start(&[pod(&json!({}))]).await,
        Server::start(&[]).await,
    );
    let dir = tempfile::tempdir().unwrap();
    let kubernetes = server.in_pod(dir.path());
    std::fs::write(dir.path().join("ca.crt"), &other.authority).unwrap();
    let result = kubernetes.evict(&pod_job("agents/writer-0")).await;
    assert!(
        matches!(&result, Err(Obstacle::Failed(why)) if why.contains("certificate authority")),
        "{result:?}"
    );
    assert!(server.asked().is_empty(), "no token was sent");
}

#[tokio::test]
async fn a_kubeconfig_is_as_good_as_a_service_account() {
    let created = ("201 Created", json!({}));
    let server = Server::start(&[pod(&json!({})), created]).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    std::fs::write(dir.path().join("own-token"), "from-a-file\n").unwrap();
    let config = format!(
        "apiVersion: v1\ncurrent-context: prod\ncontexts:\n- name: prod\n  context: {{cluster: c, user: u}}\nclusters:\n- name: c\n  cluster:\n    server: https://127.0.0.1:{}\n    certificate-authority-data: {}\nusers:\n- name: u\n  user:\n    tokenFile: own-token\n",
        server.port,
        STANDARD.encode(&server.authority)
    );
    std::fs::write(&path, config).unwrap();
    let variable = |name: &str| (name == "KUBECONFIG").then(|| path.display().to_string());
    let kubernetes = Kubernetes::from_environment(&variable, runtime(""));
    let result = kubernetes.evict(&pod_job("agents/writer-0")).await;
    assert!(result.is_ok(), "{result:?}");
    assert!(server.asked()[1].contains("Bearer from-a-file"));
}

#[test]
fn a_kubeconfig_that_cannot_be_used_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    let whole = |cluster: &str, user: &str| {
        format!(
            "current-context: a\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\nclusters: [{{name: c, cluster: {cluster}}}]\nusers: [{{name: u, user: {user}}}]\n"
        )
    };
    for (text, word) in [
        (String::new(), "it is empty"),
        ("a: [".to_owned(), "kubeconfig"),
        ("clusters: []".to_owned(), "use-context"),
        ("current-context: a".to_owned(), "kubectl config view"),
        (whole("{server: 'x'}", "{}"), "https://HOST:6443"),
        (
            whole("{server: 'https://h'}", "{}"),
            "certificate-authority",
        ),
        (
            whole(
                "{server: 'https://h', certificate-authority-data: '%'}",
                "{}",
            ),
            "base64",
        ),
        (
            whole("{server: 'https://h'}", "{exec: {command: aws}}"),
            "kubectl create token",
        ),
    ] {
        std::fs::write(&path, &text).unwrap();
        let why = Place::File(path.clone()).open().unwrap_err();
        assert!(why.contains(word), "{text}: {why}");
    }
}

#[tokio::test]
async fn what_is_no_pod_of_another_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let kubernetes = Server::start(&[]).await.in_pod(dir.path());
    for (id, word) in [
        ("agents/hbmonitor-0", "hbmonitor itself"),
        ("writer-0", "HB_POD_NAMESPACE"),
        ("../x/y", "HB_POD_NAMESPACE"),
        ("agents/..", "HB_POD_NAMESPACE"),
    ] {
        let result = kubernetes.evict(&pod_job(id)).await;
        assert!(
            matches!(&result, Err(Obstacle::NotHere(why)) if why.contains(word)),
            "{id}: {result:?}"
        );
    }
}

#[test]
fn the_pods_own_account_comes_after_a_kubeconfig_and_before_the_users() {
    let variables = |set: &'static [(&str, &str)]| {
        move |name: &str| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        }
    };
    let pod = [
        ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
        ("KUBERNETES_SERVICE_PORT", "443"),
    ];
    let both = [pod[0], pod[1], ("KUBECONFIG", ":/no/a:/no/b")];
    let place = |set: &'static [(&str, &str)]| Place::from_environment(&variables(set));
    assert_eq!(
        place(Box::leak(Box::new(both))),
        Place::File("/no/a".into())
    );
    assert!(matches!(place(Box::leak(Box::new(pod))), Place::Pod(..)));
    assert_eq!(place(&[("HOME", "/no/home")]), Place::Nowhere);
    let removal =
        Kubernetes::from_environment(&variables(&[("HB_POD_REMOVAL", "kill")]), runtime(""));
    assert!(
        removal
            .delete
            .is_err_and(|why| why.contains("evict or delete"))
    );
}
