//! `k8s/` without a cluster: one source, the right versions, and nothing in it that a restricted namespace refuses.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const EXAMPLES: [&str; 4] = ["wrap", "sidecar", "job", "cronjob"];

fn k8s(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("k8s").join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(k8s(path)).unwrap()
}

/// The manifests to be looked at, with their names.
fn all() -> Vec<(String, String)> {
    let examples = EXAMPLES.map(|name| format!("examples/{name}.yaml"));
    let names = ["hb.yaml".to_owned()].into_iter().chain(examples);
    names.map(|name| (name.clone(), text(&name))).collect()
}

/// The objects of a manifest.
fn objects(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n---\n")
        .filter(|object| object.contains("kind:"))
}

/// How often a line stands there, at any depth.
fn count(text: &str, line: &str) -> usize {
    let plain = |at: &str| at.trim_start().trim_start_matches("- ").to_owned();
    text.lines().filter(|at| plain(at) == line).count()
}

#[test]
fn the_chart_and_its_images_have_the_version_of_the_programs() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = text("chart/Chart.yaml");
    assert_eq!(count(&chart, &format!("version: {version}")), 1);
    assert_eq!(count(&chart, &format!("appVersion: \"{version}\"")), 1);
    for (name, manifest) in all() {
        assert!(
            count(&manifest, &format!("image: hb:{version}")) > 0,
            "{name}"
        );
    }
}

#[test]
fn the_rendered_manifest_is_what_the_chart_renders() {
    let helm = std::env::var("HELM").unwrap_or_else(|_| "helm".to_owned());
    let rendered = Command::new(helm)
        .args(["template", "hb"])
        .arg(k8s("chart"))
        .args(["--namespace", "hb", "--set", "namespace.create=true"])
        .args(["--kube-version", "1.29.0"])
        .output();
    let Ok(rendered) = rendered else {
        // Past the harness, which would keep it to itself.
        let words = b"helm IS NOT HERE: k8s/hb.yaml was not compared with its chart; make test-k8s does it\n";
        std::io::stderr().write_all(words).unwrap();
        return;
    };
    assert!(
        rendered.status.success(),
        "{}",
        String::from_utf8_lossy(&rendered.stderr)
    );
    let rendered = String::from_utf8(rendered.stdout).unwrap();
    assert!(
        text("hb.yaml").ends_with(&rendered),
        "k8s/hb.yaml is old: make k8s/hb.yaml renders it"
    );
}

#[test]
fn every_pod_is_fit_for_a_restricted_namespace() {
    for (name, manifest) in all() {
        for pod in objects(&manifest).filter(|object| object.contains("containers:")) {
            let containers = pod
                .lines()
                .filter(|line| {
                    line.trim_start().starts_with("image: ")
                        || line.trim_start().starts_with("- image: ")
                })
                .count();
            assert_eq!(count(pod, "runAsNonRoot: true"), 1, "{name}: {pod}");
            assert_eq!(
                count(pod, "seccompProfile: {type: RuntimeDefault}"),
                1,
                "{name}: {pod}"
            );
            let secured = pod.matches("securityContext:").count() - 1;
            assert_eq!(secured, containers, "{name}: {pod}");
            for line in [
                "allowPrivilegeEscalation: false",
                "readOnlyRootFilesystem: true",
                "capabilities: {drop: [ALL]}",
            ] {
                let given = count(pod, line) + pod.matches("securityContext: *least").count();
                assert_eq!(given, containers, "{name} {line}: {pod}");
            }
        }
    }
}

#[test]
fn pods_of_agents_have_a_name_and_no_token() {
    for name in EXAMPLES {
        let example = text(&format!("examples/{name}.yaml"));
        assert_eq!(
            count(&example, "automountServiceAccountToken: false"),
            1,
            "{name}"
        );
        for field in ["metadata.name", "metadata.namespace"] {
            let line = format!("valueFrom: {{fieldRef: {{fieldPath: {field}}}}}");
            assert!(count(&example, &line) > 0, "{name} {field}");
        }
    }
}

/// As docs/kubernetes.md removes them.
#[test]
fn examples_without_the_marked_lines_hold_nothing_that_an_older_cluster_refuses() {
    for name in EXAMPLES {
        let example = text(&format!("examples/{name}.yaml"));
        let older = example
            .lines()
            .filter(|line| !line.ends_with("# since 1.36"));
        let older = older.collect::<Vec<_>>().join("\n");
        for word in [
            "restartPolicyRules",
            "RestartAllContainers",
            "HB_POD_RESTART",
        ] {
            assert!(!older.contains(word), "{name}: {word}");
        }
    }
    for name in ["wrap", "sidecar"] {
        let example = text(&format!("examples/{name}.yaml"));
        assert_eq!(example.matches("RestartAllContainers").count(), 1, "{name}");
        assert_eq!(example.matches("HB_POD_RESTART").count(), 1, "{name}");
    }
}

#[test]
fn probes_ask_hb_of_itself_alone() {
    for (name, manifest) in all() {
        for line in manifest
            .lines()
            .filter(|line| line.contains("healthcheck") || line.contains("httpGet"))
        {
            let of_itself = line.contains("[hbsidecar, healthcheck, --socket")
                || line.contains("/-/healthy")
                || line.contains("/-/ready");
            assert!(of_itself && !line.contains("--beats"), "{name}: {line}");
        }
    }
}
