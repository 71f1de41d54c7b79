//! The examples of `k8s/`, as a user changes them: another command, another namespace, beats that come more often.

use crate::cluster::Scene;
use serde_json::{Value, json};
use std::path::PathBuf;

/// An example in the making.
pub(crate) struct Example {
    name: String,
    text: String,
}

impl Example {
    pub(crate) fn named(name: &str) -> Self {
        let path = directory().join(format!("examples/{name}.yaml"));
        Self {
            name: name.to_owned(),
            text: std::fs::read_to_string(path).unwrap(),
        }
    }

    pub(crate) fn raw(&self) -> &str {
        &self.text
    }

    /// The label `app` of its pods.
    pub(crate) fn app(&self) -> &'static str {
        match &*self.name {
            "wrap" => "writer",
            "sidecar" => "reader",
            "job" => "report",
            _ => "nightly",
        }
    }

    /// With another command of an agent that has a sidecar beside it.
    pub(crate) fn runs(self, command: &str) -> Self {
        self.changed("command: [my-agent]", &format!("command: [{command}]"))
    }

    /// A wrapped agent that hangs, and that only people may restart.
    pub(crate) fn hangs_and_only_alerts(self) -> Self {
        self.changed("args: [my-agent]", "args: [my-agent, hang, \"20\"]")
            .changed("[/hb/hbsidecar, ", "[/hb/hbsidecar, --on-hung, alert, ")
    }

    /// An agent beside its sidecar that fails after two seconds, and is in a crash loop after the second time.
    pub(crate) fn crashes(self) -> Self {
        self.runs("my-agent, exit, \"3\", \"2\"")
            .changed("[hbsidecar, ", "[hbsidecar, --max-restarts, \"1\", ")
    }

    /// With other arguments of a wrapped agent.
    pub(crate) fn passes(self, arguments: &str) -> Self {
        self.changed(
            "args: [my-agent, --once]",
            &format!("args: [my-agent, {arguments}]"),
        )
    }

    /// Without another attempt.
    pub(crate) fn once(self) -> Self {
        self.changed("backoffLimit: 2", "backoffLimit: 0")
    }

    /// With a limit of memory for an agent that has a sidecar beside it.
    pub(crate) fn limits_agent(self, memory: &str) -> Self {
        let image = "          image: my-agent:1\n";
        self.changed(
            image,
            &format!("{image}          resources: {{limits: {{memory: {memory}}}}}\n"),
        )
    }

    /// The manifest for this scene.
    pub(crate) fn text(&self, scene: &Scene) -> String {
        let store = "redis://hb-redis.hb:6379";
        assert!(self.text.contains(store), "{}", self.name);
        let url = format!("redis://hb-redis.{}:6379", scene.namespace);
        let interval = "{name: HB_INTERVAL, value: 2s}\n            - {name: HB_AGENT_TYPE,";
        let indented = interval.replace("            ", &" ".repeat(self.indent()));
        let lines = self.text.lines();
        let newer = scene.restarts_in_place();
        let lines = lines.filter(|line| newer || !line.ends_with("# since 1.36"));
        let text = lines.map(|line| format!("{line}\n")).collect::<String>();
        text.replace(store, &url)
            .replace("{name: HB_AGENT_TYPE,", &indented)
    }

    fn indent(&self) -> usize {
        if self.name == "cronjob" { 16 } else { 12 }
    }

    fn changed(mut self, from: &str, to: &str) -> Self {
        assert!(self.text.contains(from), "{} has no {from:?}", self.name);
        self.text = self.text.replace(from, to);
        self
    }
}

/// The pod of a Deployment as a Job that is tried once.
pub(crate) fn job_of(deployment: &str, name: &str) -> String {
    let (_, template) = deployment.split_once("  template:\n").unwrap();
    let template = template
        .replace("{app: reader}", &format!("{{app: {name}}}"))
        .replacen("    spec:\n", "    spec:\n      restartPolicy: Never\n", 1);
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  backoffLimit: 0\n  template:\n{template}"
    )
}

/// What the chart is installed with: no volumes are to be had in a bare cluster.
pub(crate) fn values() -> Value {
    json!({"redis": {"persistence": {"enabled": false}}, "monitor": {"interval": "2s"}})
}

/// `k8s/` of the repository.
pub(crate) fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("k8s")
}
