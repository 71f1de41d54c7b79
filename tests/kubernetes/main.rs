//! hb in a real Kubernetes, as `k8s/` installs it: each test has a namespace with the chart, and agents as the examples run
//! them. `make test-k8s` starts a cluster of its own; `KUBECONFIG` names another one, which must know the images.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod cluster;
mod manifests;

use cluster::{Scene, WITHIN};
use manifests::{Example, job_of};
use serde_json::json;

/// What an agent of the example `wrap` or `sidecar` is after its container was changed.
fn agent_of(scene: &Scene, example: &Example) -> String {
    scene.apply(&example.text(scene));
    let id = scene.only_pod(example.app());
    scene.becomes(&id, "healthy");
    id
}

#[test]
fn the_chart_and_all_examples_are_accepted_and_rights_are_least() {
    let scene = Scene::installed("rights");
    let monitor = format!("system:serviceaccount:{}:hb-monitor", scene.namespace);
    for (right, expected) in [
        (&["get", "pods"][..], "yes"),
        (&["create", "pods", "--subresource=eviction"], "yes"),
        (&["delete", "pods"], "no"),
        (&["list", "pods"], "no"),
        (&["get", "secrets"], "no"),
        (&["create", "pods", "--subresource=exec"], "no"),
        (&["get", "nodes"], "no"),
    ] {
        let asked = [&["auth", "can-i", "--as", &monitor], right].concat();
        let answer = scene.try_kubectl(&asked).1;
        assert_eq!(answer.trim(), expected, "{right:?}");
    }
    for name in ["wrap", "sidecar", "job", "cronjob"] {
        let example = Example::named(name);
        assert!(
            example
                .raw()
                .contains("automountServiceAccountToken: false"),
            "{name}"
        );
        let (code, said) = scene.kubectl_with(
            &["apply", "--dry-run=server", "-f", "-"],
            &example.text(&scene),
        );
        assert!(
            code == 0 && !said.contains("would violate PodSecurity"),
            "{name}: {said}"
        );
    }
}

#[test]
fn a_wrapped_agent_that_is_killed_is_restarted_in_place() {
    let scene = Scene::installed("wrap");
    let id = agent_of(&scene, &Example::named("wrap"));
    scene.kill(&id, "agent", &scene.health(&id)["pid"]);
    scene.shows(&id, "restarts", json!(1));
    scene.becomes(&id, "healthy");
    assert_eq!(scene.container_restarts(&id, "agent"), 0);
}

#[test]
fn an_agent_beside_its_sidecar_that_is_killed_is_failed_and_healthy_again() {
    let scene = Scene::installed("beside");
    let id = agent_of(&scene, &Example::named("sidecar"));
    scene.kill(&id, "agent", &scene.health(&id)["pid"]);
    scene.shows(&id, "restarts", json!(1));
    scene.becomes(&id, "healthy");
    scene.was(&id, "failed");
    assert_eq!(scene.container_restarts(&id, "agent"), 1);
    assert_eq!(scene.container_restarts(&id, "hb"), 0);
}

#[test]
fn an_agent_that_hangs_beside_its_sidecar_is_ended_and_started_by_the_kubelet() {
    let scene = Scene::installed("hang");
    let id = agent_of(
        &scene,
        &Example::named("sidecar").runs("my-agent, hang, \"3\""),
    );
    scene.shows(&id, "restarts", json!(1));
    scene.was(&id, "failed");
    assert!(scene.container_restarts(&id, "agent") >= 1);
}

#[test]
fn an_agent_that_the_kernel_kills_for_memory_is_known_as_such_from_beside() {
    let scene = Scene::installed("memory");
    let example = Example::named("sidecar")
        .runs("my-agent, eat, \"100\", \"6\"")
        .limits_agent("32Mi");
    let id = agent_of(&scene, &example);
    scene.shows(&id, "reason", json!("oom_killed"));
}

#[test]
fn pods_that_are_deleted_are_stopped_and_never_failed() {
    let scene = Scene::installed("deletion");
    for name in ["wrap", "sidecar"] {
        let id = agent_of(&scene, &Example::named(name));
        scene.kubectl(&["delete", "pod", &id, "--wait=false"]);
        scene.becomes(&id, "stopped");
        scene.kubectl(&["wait", "--for=delete", &format!("pod/{id}"), WITHIN]);
        scene.stays(&id, "stopped");
        scene.was_never(&id, "failed");
    }
}

#[test]
fn a_rollout_replaces_agents_and_fails_none() {
    let scene = Scene::installed("rollout");
    for name in ["wrap", "sidecar"] {
        let example = Example::named(name);
        let old = agent_of(&scene, &example);
        let deployment = format!("deployment/{}", example.app());
        scene.kubectl(&["rollout", "restart", &deployment]);
        scene.kubectl(&["rollout", "status", &deployment, WITHIN]);
        scene.becomes(&old, "stopped");
        let new = scene.only_pod(example.app());
        scene.becomes(&new, "healthy");
        for id in [old, new] {
            scene.was_never(&id, "failed");
        }
    }
}

#[test]
fn a_deployment_that_is_scaled_to_nothing_and_back_fails_no_agent() {
    let scene = Scene::installed("scale");
    let example = Example::named("wrap");
    let old = agent_of(&scene, &example);
    scene.kubectl(&["scale", "--replicas=0", "deployment/writer"]);
    scene.becomes(&old, "stopped");
    scene.kubectl(&["scale", "--replicas=1", "deployment/writer"]);
    let new = scene.only_pod(example.app());
    scene.becomes(&new, "healthy");
    scene.was_never(&old, "failed");
}

#[test]
fn a_job_that_completes_is_stopped_and_one_that_fails_stays_failed() {
    let scene = Scene::installed("job");
    scene.apply(
        &Example::named("job")
            .passes("exit, \"0\", \"5\"")
            .text(&scene),
    );
    let good = scene.only_pod("report");
    scene.becomes(&good, "stopped");
    scene.kubectl(&["wait", "--for=condition=Complete", "job/report", WITHIN]);
    scene.was_never(&good, "failed");
    scene.kubectl(&["delete", "job", "report"]);
    let fails = Example::named("job").passes("exit, \"3\", \"5\"").once();
    scene.apply(&fails.text(&scene));
    let bad = scene.only_pod("report");
    scene.becomes(&bad, "failed");
    scene.kubectl(&["wait", "--for=condition=Failed", "job/report", WITHIN]);
    scene.stays(&bad, "failed");
}

#[test]
fn a_job_beside_its_sidecar_ends_with_its_agent_and_stays_as_it_ended() {
    let scene = Scene::installed("job-beside");
    for (name, code, state, condition) in [
        ("good", 0, "stopped", "Complete"),
        ("bad", 3, "failed", "Failed"),
    ] {
        let agent = Example::named("sidecar").runs(&format!("my-agent, exit, \"{code}\", \"8\""));
        scene.apply(&job_of(&agent.text(&scene), name));
        let id = scene.only_pod(name);
        scene.becomes(&id, "healthy");
        let job = format!("job/{name}");
        scene.kubectl(&[
            "wait",
            &format!("--for=condition={condition}"),
            &job,
            WITHIN,
        ]);
        scene.becomes(&id, state);
        scene.stays(&id, state);
    }
}

#[test]
fn the_second_run_of_a_cron_job_is_the_same_agent_again() {
    let scene = Scene::installed("cron");
    let example = Example::named("cronjob").passes("exit, \"0\", \"6\"");
    scene.apply(&example.text(&scene));
    let mut epochs = Vec::new();
    for run in ["run-1", "run-2"] {
        scene.kubectl(&["create", "job", run, "--from=cronjob/nightly"]);
        scene.becomes("nightly", "healthy");
        epochs.push(scene.health("nightly")["epoch"].as_u64().unwrap());
        scene.becomes("nightly", "stopped");
    }
    assert!(epochs[0] < epochs[1], "{epochs:?}");
    scene.was_never("nightly", "failed");
}

#[test]
fn the_rung_kubernetes_evicts_a_pod_and_its_successor_is_healthy() {
    let scene = Scene::installed("evict");
    let example = Example::named("wrap").hangs_and_only_alerts();
    let old = agent_of(&scene, &example);
    scene.becomes(&old, "failed");
    scene.monitor(&["recover", &old, "--rung", "kubernetes"]);
    scene.kubectl(&["wait", "--for=delete", &format!("pod/{old}"), WITHIN]);
    scene.becomes(&old, "stopped");
    scene.was(&scene.only_pod(example.app()), "healthy");
}

#[test]
fn the_rung_pod_restarts_all_containers_in_place() {
    let scene = Scene::installed("in-place");
    if !scene.restarts_in_place() {
        eprintln!("this cluster is older than 1.36: pods cannot be restarted in place");
        return;
    }
    let example = Example::named("wrap").hangs_and_only_alerts();
    let id = agent_of(&scene, &example);
    scene.becomes(&id, "failed");
    scene.monitor(&["recover", &id, "--rung", "pod"]);
    scene.becomes(&id, "healthy");
    assert_eq!(scene.only_pod(example.app()), id);
    assert!(
        scene.container_restarts(&id, "hb") >= 1,
        "init containers too"
    );
}

#[test]
fn an_agent_that_the_kubelet_starts_again_and_again_is_in_a_crash_loop() {
    let scene = Scene::installed("crash-loop");
    let id = agent_of(&scene, &Example::named("sidecar").crashes());
    scene.shows(&id, "reason", json!("crash_loop"));
}

#[test]
fn redis_is_replaced_and_agents_work_on() {
    let scene = Scene::installed("redis");
    let id = agent_of(&scene, &Example::named("wrap"));
    let pid = scene.health(&id)["pid"].clone();
    scene.kubectl(&["delete", "pod", "hb-redis-0"]);
    scene.kubectl(&["rollout", "status", "statefulset/hb-redis", WITHIN]);
    scene.beats_again(&id);
    scene.becomes(&id, "healthy");
    scene.shows(&id, "pid", pid);
    scene.was_never(&id, "failed");
}

#[test]
fn the_monitor_is_replaced_and_says_nothing_false() {
    let scene = Scene::installed("monitor");
    let id = agent_of(&scene, &Example::named("sidecar"));
    scene.kubectl(&["rollout", "restart", "deployment/hb-monitor"]);
    scene.kubectl(&["rollout", "status", "deployment/hb-monitor", WITHIN]);
    scene.becomes(&id, "healthy");
    scene.beats_again(&id);
    scene.was_never(&id, "failed");
}

#[test]
fn agents_start_and_work_before_there_is_a_store() {
    let scene = Scene::bare("no-store");
    let example = Example::named("sidecar");
    scene.apply(&example.text(&scene));
    scene.kubectl(&["rollout", "status", "deployment/reader", WITHIN]);
    scene.install();
    scene.becomes(&scene.only_pod(example.app()), "healthy");
}
