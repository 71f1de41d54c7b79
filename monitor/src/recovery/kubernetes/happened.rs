//! What the status of a pod says of a failure, in one sentence. It is shown, and decides nothing.

use crate::recovery::foreign;
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An end of a container that is older explains no failure of now. The cluster's clock and ours may differ by less.
const LATELY: Duration = Duration::from_secs(600);
/// What keeps a container from its start, beside its image.
const CANNOT_START: [&str; 4] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "InvalidImageName",
];

/// The sentence for a pod's `status`; `now_ms` is our wall clock. What ends a whole pod comes before what ends a container.
pub(super) fn sentence(status: &Value, now_ms: u64) -> Option<String> {
    let of_pod = ended_pod(status).or_else(|| unscheduled(status));
    of_pod.or_else(|| containers(status).find_map(|container| of_container(container, now_ms)))
}

fn containers(status: &Value) -> impl Iterator<Item = &Value> {
    let kinds = ["containerStatuses", "initContainerStatuses"];
    let all = kinds.into_iter().filter_map(|kind| status[kind].as_array());
    all.flatten()
}

/// Evicted by its node, preempted, ended with its node.
fn ended_pod(status: &Value) -> Option<String> {
    let failed = status["phase"] == "Failed";
    let (reason, message) = match status["reason"].as_str().filter(|_| failed) {
        Some(reason) => (reason, &status["message"]),
        None => {
            let target = condition(status, "DisruptionTarget", "True")?;
            (target["reason"].as_str()?, &target["message"])
        }
    };
    let what = if reason == "Evicted" {
        "Kubernetes evicted its pod".to_owned()
    } else {
        format!("Kubernetes ended its pod ({})", foreign(reason))
    };
    Some(with(&what, message))
}

fn unscheduled(status: &Value) -> Option<String> {
    let scheduled = condition(status, "PodScheduled", "False")?;
    Some(with(
        "Kubernetes finds no node for its pod",
        &scheduled["message"],
    ))
}

fn of_container(container: &Value, now_ms: u64) -> Option<String> {
    let name = foreign(container["name"].as_str()?);
    let waiting = &container["state"]["waiting"];
    let reason = waiting["reason"].as_str().unwrap_or_default();
    if reason.contains("ImagePull") || reason == "ErrImageNeverPull" {
        let image = foreign(container["image"].as_str().unwrap_or("?"));
        let what = format!("Kubernetes cannot pull the image {image} of its container {name}");
        return Some(with(&what, &waiting["message"]));
    }
    if CANNOT_START.contains(&reason) {
        let what = format!("Kubernetes cannot start its container {name} ({reason})");
        return Some(with(&what, &waiting["message"]));
    }
    let ends = [&container["state"], &container["lastState"]];
    let mut ends = ends.into_iter().map(|state| &state["terminated"]);
    if ends.any(|end| end["reason"] == "OOMKilled" && is_lately(end, now_ms)) {
        return Some(format!(
            "Kubernetes: its container {name} used more memory than its limit (OOMKilled)."
        ));
    }
    let restarts = container["restartCount"].as_u64().unwrap_or(0);
    (reason == "CrashLoopBackOff").then(|| {
        format!("Kubernetes waits before it starts its container {name} again (CrashLoopBackOff, {restarts} restarts).")
    })
}

fn condition<'a>(status: &'a Value, kind: &str, value: &str) -> Option<&'a Value> {
    let mut all = status["conditions"].as_array()?.iter();
    all.find(|condition| condition["type"] == kind && condition["status"] == value)
}

fn is_lately(end: &Value, now_ms: u64) -> bool {
    let at = end["finishedAt"].as_str();
    let at = at.and_then(|at| humantime::parse_rfc3339_weak(at).ok());
    let now = UNIX_EPOCH + Duration::from_millis(now_ms);
    let apart = |at: SystemTime| match now.duration_since(at) {
        Ok(before) => before,
        Err(after) => after.duration(),
    };
    at.is_some_and(|at| apart(at) < LATELY)
}

/// A sentence with the words of the cluster.
fn with(what: &str, message: &Value) -> String {
    let message = foreign(message.as_str().unwrap_or_default());
    match message.trim_end_matches('.') {
        "" => format!("{what}."),
        message => format!("{what}: {message}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW_MS: u64 = 1_764_000_600_000; // 2025-11-24T16:10:00Z

    fn container(state: &Value, last: &Value) -> Value {
        json!({"phase": "Running", "containerStatuses": [
            {"name": "hb", "state": {"running": {}}, "lastState": {}, "restartCount": 0},
            {"name": "agent", "image": "my-agent:2", "state": state, "lastState": last, "restartCount": 5},
        ]})
    }

    #[test]
    fn each_cause_that_the_cluster_knows_has_its_sentence() {
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory. "});
        let preempted = json!({"phase": "Running", "conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "for a pod of higher priority"}]});
        let pending = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]});
        let image = json!({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}});
        let config = json!({"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"key\" not found"}});
        let memory =
            json!({"terminated": {"reason": "OOMKilled", "finishedAt": "2025-11-24T16:09:58Z"}});
        let back_off = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let none = json!({});
        for (status, expected) in [
            (
                evicted,
                "Kubernetes evicted its pod: The node was low on resource: memory.",
            ),
            (
                preempted,
                "Kubernetes ended its pod (PreemptionByScheduler): for a pod of higher priority.",
            ),
            (
                pending,
                "Kubernetes finds no node for its pod: 0/3 nodes are available.",
            ),
            (
                container(&image, &none),
                "Kubernetes cannot pull the image my-agent:2 of its container agent: not found.",
            ),
            (
                container(&config, &none),
                "Kubernetes cannot start its container agent (CreateContainerConfigError): secret \"key\" not found.",
            ),
            (
                container(&back_off, &memory),
                "Kubernetes: its container agent used more memory than its limit (OOMKilled).",
            ),
            (
                container(&back_off, &none),
                "Kubernetes waits before it starts its container agent again (CrashLoopBackOff, 5 restarts).",
            ),
        ] {
            assert_eq!(sentence(&status, NOW_MS).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_pod_that_runs_and_what_is_long_over_explain_nothing() {
        let running = json!({"running": {}});
        let old =
            json!({"terminated": {"reason": "OOMKilled", "finishedAt": "2025-11-23T10:00:00Z"}});
        let error = json!({"terminated": {"reason": "Error", "exitCode": 3, "finishedAt": "2025-11-24T16:09:58Z"}});
        for last in [json!({}), old, error] {
            assert_eq!(
                sentence(&container(&running, &last), NOW_MS),
                None,
                "{last}"
            );
        }
        for odd in [json!(null), json!([]), json!({"containerStatuses": 7})] {
            assert_eq!(sentence(&odd, NOW_MS), None, "{odd}");
        }
    }
}
