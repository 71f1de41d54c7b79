//! What the agent runs in, read once: it decides which rung of recovery can reach it.

use heartbeat::wire::beat::Runtime;

/// Kubernetes, Docker, systemd or the bare host, in this order: the outermost that can restart the agent.
pub(crate) fn detect(host: &str) -> Runtime {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let (kind, id) = if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        ("kubernetes", host.to_owned())
    } else if let Some(id) = container(&read("/proc/self/mountinfo")) {
        ("docker", id)
    } else if let Some(unit) = unit(&read("/proc/self/cgroup")) {
        ("systemd", unit)
    } else {
        ("host", String::new())
    };
    Runtime {
        kind: kind.to_owned(),
        id,
    }
}

/// The engine mounts files of its own into every container, from a directory named by the container.
fn container(mountinfo: &str) -> Option<String> {
    let (_, rest) = mountinfo.split_once("/docker/containers/")?;
    let id = rest.split('/').next()?;
    (id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// The innermost service of the control group path.
fn unit(cgroup: &str) -> Option<String> {
    let mut parts = cgroup.lines().flat_map(|line| line.rsplit('/'));
    parts
        .find(|part| part.ends_with(".service") && !part.starts_with("user@"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_the_mounts_of_its_engine() {
        let id = "a".repeat(64);
        let mounts = format!("1 2 8:1 /var/lib/docker/containers/{id}/hosts /etc/hosts rw");
        assert_eq!(container(&mounts), Some(id));
        assert_eq!(container("1 2 8:1 / / rw"), None);
    }

    #[test]
    fn a_unit_is_the_innermost_service() {
        assert_eq!(
            unit("0::/system.slice/agent.service\n"),
            Some("agent.service".to_owned())
        );
        assert_eq!(
            unit("0::/user.slice/user@7.service/app.slice/x.scope\n"),
            None
        );
    }
}
