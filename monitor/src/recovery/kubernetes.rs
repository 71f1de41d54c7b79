//! The rung `kubernetes`: the agent's pod is evicted, and its controller makes another one.
//!
//! An eviction honours disruption budgets; a refusal is tried again while the rung has time. A pod without a controller
//! would not come back, so it is left alone.

mod access;
mod happened;

use super::client::{Answer, CallError};
use super::{Job, Obstacle, WITHIN};
use access::{Access, Place};
use heartbeat::fleet::ladder::exchange::RuntimeKind;
use heartbeat::wire::beat::Runtime;
use hyper::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// How pods are removed.
const REMOVAL: &str = "HB_POD_REMOVAL";
/// After a refusal by a budget, unless the server names a time; both bounds of what it may name.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
const AGAIN_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));
/// After a failure the pod is looked at so long after the time before.
const ASK_AFTER: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(10),
];
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// The longest name of a pod or namespace.
const NAME_MAX: usize = 253;

/// The cluster that this program reaches.
#[derive(Debug)]
pub(super) struct Kubernetes {
    place: Place,
    /// Delete, whatever a budget says; or why the setting cannot be used.
    delete: Result<bool, String>,
    own: Runtime,
}

/// A pod by its names, which are fit for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pod<'a> {
    namespace: &'a str,
    name: &'a str,
}

impl Kubernetes {
    pub(super) fn from_environment(
        variable: &impl Fn(&str) -> Option<String>,
        own: Runtime,
    ) -> Self {
        let delete = match variable(REMOVAL).as_deref() {
            None | Some("" | "evict") => Ok(false),
            Some("delete") => Ok(true),
            Some(other) => Err(format!(
                "{REMOVAL}: expected evict or delete, got {other:?}"
            )),
        };
        Self {
            place: Place::from_environment(variable),
            delete,
            own,
        }
    }

    /// Why no cluster can be reached: none is named, or what names it cannot be read.
    pub(super) fn obstacle(&self) -> Option<String> {
        self.place.open().err()
    }

    /// Evicts or deletes the agent's pod.
    pub(super) async fn evict(&self, job: &Job) -> Result<String, Obstacle> {
        let pod = self.pod_of(job)?;
        let delete = self.delete.clone().map_err(Obstacle::Failed)?;
        let access = self.place.open().map_err(Obstacle::Failed)?;
        match tokio::time::timeout(WITHIN, remove(&access, pod, delete)).await {
            Ok(result) => result,
            Err(_) => Err(Obstacle::failed(format!(
                "the API server {access} did not answer within {} s; see whether it does: kubectl get --raw /readyz",
                WITHIN.as_secs()
            ))),
        }
    }

    /// What the API server says of the pod that explains a failure of its agent. The kubelet reports after the fact, so it is
    /// asked again.
    pub(super) async fn what_happened(&self, runtime: &Runtime) -> Option<String> {
        let is_pod = RuntimeKind::parse(&runtime.kind) == RuntimeKind::Kubernetes;
        let pod = Pod::parse(&runtime.id).filter(|_| is_pod)?;
        let access = self.place.open().ok()?;
        let path = pod.path();
        for wait in ASK_AFTER {
            tokio::time::sleep(wait).await;
            let asked = access.call(Method::GET, &path, None);
            let answer = match tokio::time::timeout(ASK_WITHIN, asked).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) | Err(_) => continue,
            };
            match answer.status {
                200 => {
                    let now = hbshell::clock::wall_ms();
                    if let Some(said) = happened::sentence(&answer.json()["status"], now) {
                        return Some(said);
                    }
                }
                404 => return Some(format!("Kubernetes has no pod {pod} any more.")),
                other => {
                    tracing::debug!("the API server does not show the pod {pod}: status {other}");
                    return None;
                }
            }
        }
        None
    }

    fn pod_of<'a>(&self, job: &'a Job) -> Result<Pod<'a>, Obstacle> {
        let runtime = job.runtime.as_ref();
        let runtime = runtime.filter(|_| job.runtime_kind() == RuntimeKind::Kubernetes);
        let Some(runtime) = runtime else {
            return Err(Obstacle::not_here("its beat names no pod"));
        };
        if *runtime == self.own {
            return Err(Obstacle::not_here(format!(
                "hbmonitor itself runs in the pod {}; give it a pod of its own",
                runtime.id
            )));
        }
        Pod::parse(&runtime.id).ok_or_else(|| {
            Obstacle::not_here(
                "its beat does not name its pod and namespace; give its container HB_POD_NAME and HB_POD_NAMESPACE by the downward API",
            )
        })
    }
}

impl<'a> Pod<'a> {
    fn parse(id: &'a str) -> Option<Self> {
        let (namespace, name) = id.split_once('/')?;
        let fits = |text: &str| {
            (1..=NAME_MAX).contains(&text.len())
                && text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
        };
        (fits(namespace) && fits(name)).then_some(Self { namespace, name })
    }

    fn path(self) -> String {
        format!("/api/v1/namespaces/{}/pods/{}", self.namespace, self.name)
    }
}

impl std::fmt::Display for Pod<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

async fn remove(access: &Access, pod: Pod<'_>, delete: bool) -> Result<String, Obstacle> {
    let answer = call(access, Method::GET, &pod.path(), None).await?;
    if answer.status == 404 {
        return Err(Obstacle::not_here(format!(
            "the pod {pod} is not there any more; if no other one came: kubectl get pods -n {}",
            pod.namespace
        )));
    }
    let found = good(answer, pod, "get", "pods")?.json();
    let metadata = &found["metadata"];
    if metadata["deletionTimestamp"].is_string() {
        return Ok(format!(
            "the pod {pod} is being deleted already; its controller makes another one"
        ));
    }
    let controller = controller_of(metadata, pod)?;
    // By its uid: a pod of a StatefulSet gets the name of the one before.
    let options = json!({"preconditions": {"uid": metadata["uid"]}});
    let (answer, verb, what) = if delete {
        let answer = call(access, Method::DELETE, &pod.path(), Some(&options)).await?;
        (answer, "delete", "pods")
    } else {
        let body = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace}, "deleteOptions": options,
        });
        let path = format!("{}/eviction", pod.path());
        let answer = call(access, Method::POST, &path, Some(&body)).await?;
        (answer, "create", "pods/eviction")
    };
    let done = if delete { "deleted" } else { "evicted" };
    match answer.status {
        404 | 409 => Ok(format!(
            "the pod {pod} was removed meanwhile; {controller} makes another one"
        )),
        429 => Err(put_off(&answer, pod)),
        _ => good(answer, pod, verb, what)
            .map(|_| format!("Kubernetes {done} the pod {pod}; {controller} makes another one")),
    }
}

/// What makes another pod when this one is gone.
fn controller_of(metadata: &Value, pod: Pod<'_>) -> Result<String, Obstacle> {
    let owners = metadata["ownerReferences"].as_array();
    let controller = owners
        .into_iter()
        .flatten()
        .find(|owner| owner["controller"] == true);
    let text = |value: &Value| super::foreign(value.as_str().unwrap_or("?"));
    match controller {
        None => Err(Obstacle::not_here(format!(
            "the pod {pod} has no controller: nothing would make another one. Run it by a Deployment or StatefulSet"
        ))),
        Some(owner) if owner["kind"] == "Node" => Err(Obstacle::not_here(format!(
            "the pod {pod} is a static pod of its node: restart it there (crictl)"
        ))),
        Some(owner) => Ok(format!(
            "its {} {}",
            text(&owner["kind"]),
            text(&owner["name"])
        )),
    }
}

fn put_off(answer: &Answer, pod: Pod<'_>) -> Obstacle {
    let (least, most) = AGAIN_BOUNDS;
    let after = answer.retry_after.unwrap_or(AGAIN_AFTER).clamp(least, most);
    Obstacle::Later(
        format!(
            "the eviction of {pod} is refused for now: {}; see kubectl get pdb -n {}, or set {REMOVAL}=delete",
            answer.message(),
            pod.namespace
        ),
        after,
    )
}

async fn call(
    access: &Access,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Answer, Obstacle> {
    let answer = access.call(method, path, body).await;
    answer.map_err(|error| {
        let remedy = match &error {
            CallError::Connect(_) => "check the server's address and that this host reaches it",
            CallError::Tls(_) => {
                "check the certificate authority of the service account or kubeconfig"
            }
            CallError::Http(_) => "see whether it answers: kubectl get --raw /readyz",
        };
        Obstacle::failed(format!(
            "cannot reach the API server {access}: {error}; {remedy}"
        ))
    })
}

fn good(answer: Answer, pod: Pod<'_>, verb: &str, what: &str) -> Result<Answer, Obstacle> {
    let why = match answer.status {
        200..=299 => return Ok(answer),
        401 => {
            "the API server does not accept hbmonitor's credentials; renew the token or the kubeconfig"
                .to_owned()
        }
        403 => format!(
            "hbmonitor may not {verb} {what} in {}; allow it by a Role (k8s RBAC)",
            pod.namespace
        ),
        _ => format!("kubectl describe pod -n {} {} shows more", pod.namespace, pod.name),
    };
    Err(Obstacle::failed(format!("{}; {why}", answer.message())))
}

#[cfg(test)]
mod tests;
