//! One namespace of the cluster, with hb in it or not, and what its monitor shows.

use crate::manifests::{directory, values};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The deadline of every condition: two cores may be shared by many pods.
const SOON: Duration = Duration::from_secs(150);
/// The same for kubectl.
pub(crate) const WITHIN: &str = "--timeout=150s";
/// How long a state is watched that must not change: some intervals of 2 s, and the time to a failure.
const LASTING: Duration = Duration::from_secs(10);

/// A namespace; it goes with the scene, unless `KEEP` is set.
pub(crate) struct Scene {
    pub(crate) namespace: String,
}

impl Scene {
    /// A namespace without hb, under Pod Security `restricted`.
    pub(crate) fn bare(name: &str) -> Self {
        let namespace = format!("hb-test-{name}");
        let scene = Self { namespace };
        scene.remove();
        scene.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {}, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}",
            scene.namespace
        ));
        // Without it pods are refused.
        eventually("the namespace has its service account", || {
            (scene.try_kubectl(&["get", "serviceaccount", "default"]).0 == 0).then_some(())
        });
        scene
    }

    /// A namespace with the chart.
    pub(crate) fn installed(name: &str) -> Self {
        let scene = Self::bare(name);
        scene.install();
        scene
    }

    pub(crate) fn install(&self) {
        let chart = directory().join("chart");
        let helm = std::env::var("HELM").unwrap_or_else(|_| "helm".to_owned());
        let mut render = Command::new(helm);
        render
            .args(["template", "hb", "--kube-version", "1.29.0"])
            .arg(chart);
        render.args(["--namespace", &self.namespace, "--values", "-"]);
        let (code, manifests) = run(&mut render, &values().to_string());
        assert_eq!(code, 0, "{manifests}");
        self.apply(&manifests);
        for what in ["statefulset/hb-redis", "deployment/hb-monitor"] {
            self.kubectl(&["rollout", "status", what, WITHIN]);
        }
    }

    pub(crate) fn apply(&self, manifest: &str) {
        let (code, said) = self.kubectl_with(&["apply", "-f", "-"], manifest);
        assert_eq!(code, 0, "{said}");
    }

    /// Must succeed; what it printed.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let (code, said) = self.try_kubectl(arguments);
        assert_eq!(code, 0, "kubectl {arguments:?}: {said}");
        said
    }

    pub(crate) fn try_kubectl(&self, arguments: &[&str]) -> (i32, String) {
        self.kubectl_with(arguments, "")
    }

    pub(crate) fn kubectl_with(&self, arguments: &[&str], input: &str) -> (i32, String) {
        let mut kubectl = Command::new("kubectl");
        run(
            kubectl
                .args(["--namespace", &self.namespace])
                .args(arguments),
            input,
        )
    }

    /// `hbmonitor` in the monitor's pod.
    pub(crate) fn monitor(&self, arguments: &[&str]) -> String {
        let exec = ["exec", "deployment/hb-monitor", "--", "hbmonitor"];
        self.try_kubectl(&[&exec, arguments].concat()).1
    }

    /// The agent as the monitor shows it; null when it shows none.
    pub(crate) fn health(&self, id: &str) -> Value {
        serde_json::from_str(&self.monitor(&["show", id, "--json"])).unwrap_or_default()
    }

    /// The name of the one pod with this label that is not being deleted.
    pub(crate) fn only_pod(&self, app: &str) -> String {
        eventually(&format!("there is one pod of {app}"), || {
            let selector = format!("app={app}");
            let pods = self
                .try_kubectl(&["get", "pods", "-l", &selector, "-o", "json"])
                .1;
            let pods: Value = serde_json::from_str(&pods).ok()?;
            let live = pods["items"].as_array()?.iter();
            let live = live.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
            let names: Vec<&str> = live
                .filter_map(|pod| pod["metadata"]["name"].as_str())
                .collect();
            match names[..] {
                [only] => Some(only.to_owned()),
                _ => None,
            }
        })
    }

    /// Whether a pod of this cluster may restart all its containers: since 1.36.
    pub(crate) fn restarts_in_place(&self) -> bool {
        let version: Value =
            serde_json::from_str(&self.kubectl(&["version", "-o", "json"])).unwrap();
        let minor = version["serverVersion"]["minor"].as_str().unwrap();
        minor.trim_end_matches('+').parse::<u32>().unwrap() >= 36
    }

    pub(crate) fn container_restarts(&self, pod: &str, container: &str) -> u64 {
        let pod: Value =
            serde_json::from_str(&self.kubectl(&["get", "pod", pod, "-o", "json"])).unwrap();
        let kinds = ["containerStatuses", "initContainerStatuses"];
        let mut all = kinds
            .iter()
            .flat_map(|kind| pod["status"][kind].as_array().into_iter().flatten());
        let found = all.find(|status| status["name"] == container).unwrap();
        found["restartCount"].as_u64().unwrap()
    }

    /// SIGKILL, from inside of the container.
    pub(crate) fn kill(&self, pod: &str, container: &str, pid: &Value) {
        let kill = format!("kill -9 {pid}");
        self.kubectl(&["exec", pod, "-c", container, "--", "sh", "-c", &kill]);
    }

    pub(crate) fn becomes(&self, id: &str, state: &str) {
        self.shows(id, "state", json!(state));
    }

    pub(crate) fn shows(&self, id: &str, field: &str, value: Value) {
        let mut last = Value::Null;
        let shown = poll(|| {
            last = self.health(id);
            (last[field] == value).then_some(())
        });
        assert!(
            shown.is_some(),
            "{id} does not become {field} {value}: {last:#}\n{}",
            self.story()
        );
    }

    pub(crate) fn stays(&self, id: &str, state: &str) {
        let until = Instant::now() + LASTING;
        while Instant::now() < until {
            let health = self.health(id);
            assert_eq!(health["state"], state, "{health:#}\n{}", self.story());
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// A beat comes that was sent after now.
    pub(crate) fn beats_again(&self, id: &str) {
        let before = self.health(id)["lastHeartbeat"]
            .as_u64()
            .unwrap_or_default();
        eventually(&format!("{id} beats again"), || {
            (self.health(id)["lastHeartbeat"].as_u64()? > before).then_some(())
        });
    }

    /// It was so, if only for a moment.
    pub(crate) fn was(&self, id: &str, state: &str) {
        let announced = poll(|| self.states(id).contains(&state.to_owned()).then_some(()));
        assert!(announced.is_some(), "{id}: {}", self.story());
    }

    pub(crate) fn was_never(&self, id: &str, state: &str) {
        assert!(
            !self.states(id).contains(&state.to_owned()),
            "{id}: {}",
            self.story()
        );
    }

    /// Every state that the monitor announced of the agent.
    fn states(&self, id: &str) -> Vec<String> {
        let events = self.monitor(&["events", "--agent", id, "--json"]);
        let events = events
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events
            .filter_map(|event| Some(event["to"].as_str()?.to_owned()))
            .collect()
    }

    fn story(&self) -> String {
        self.monitor(&["events"])
    }

    fn remove(&self) {
        let namespace = ["delete", "namespace", &self.namespace, "--ignore-not-found"];
        self.kubectl(&namespace);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::env::var_os("KEEP").is_none() {
            // The next test need not wait for it.
            self.try_kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]);
        }
    }
}

fn run(command: &mut Command, input: &str) -> (i32, String) {
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let code = output.status.code().unwrap_or(-1);
    let said = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    (code, String::from_utf8_lossy(&said).into_owned())
}

fn poll<T>(mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + SOON;
    loop {
        let found = condition();
        if found.is_some() || Instant::now() > until {
            return found;
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Waits for a condition.
pub(crate) fn eventually<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    let found = poll(condition);
    assert!(found.is_some(), "waited {SOON:?} until {what}");
    found.unwrap()
}
