//! Whose pod a process is of, by its control groups: with `hostPID` the processes of all pods of the node are visible.

/// How a pod's uid stands in the name of its group: `pod1a2b…`, `kubepods-burstable-pod1a2b….slice`.
const MARK: &str = "pod";
/// A uid without its hyphens; a pod that a file of the node defines has one of this form from the beginning.
const UID_DIGITS: usize = 32;

/// Whether `other` is a process of another pod than `own`, both given as `/proc/PID/cgroup`. A process of no pod is of no
/// other one: an agent of the node itself may be watched from a pod.
pub(super) fn is_of_another_pod(own: &str, other: &str) -> bool {
    match (pod(own), pod(other)) {
        (_, None) => false,
        (Some((own, _)), Some((other, _))) => own != other,
        // In a control group namespace our own path is `/`, and the pod stands only in paths that leave ours.
        (None, Some((_, path))) => path.starts_with("/.."),
    }
}

/// The uid of the pod, and the path that names it.
fn pod(cgroups: &str) -> Option<(String, &str)> {
    let paths = cgroups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2));
    paths
        .filter_map(|path| Some((path.split('/').find_map(uid)?, path)))
        .next()
}

fn uid(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let at = part.rfind(MARK)?;
    let starts = at == 0 || part.get(..at)?.ends_with('-');
    let digits: String = part
        .get(at + MARK.len()..)?
        .chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .collect();
    let is_uid = digits.len() == UID_DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit());
    (starts && is_uid).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0a1b2c3d-0000-4000-8000-00000000000a";
    const B: &str = "0a1b2c3d-0000-4000-8000-00000000000b";

    /// As drivers of either kind name the group of a container.
    fn groups(uid: &str) -> [String; 3] {
        let under_scores = uid.replace('-', "_");
        [
            format!("9:memory:/kubepods/burstable/pod{uid}/c1\n1:name=systemd:/"),
            format!("0::/kubepods/pod{uid}/c1"),
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{under_scores}.slice/cri-containerd-c1.scope"
            ),
        ]
    }

    #[test]
    fn a_process_of_the_same_pod_is_told_from_one_of_another() {
        for (own, other) in groups(A).iter().zip(groups(B)) {
            assert!(is_of_another_pod(own, &other), "{own} {other}");
            assert!(!is_of_another_pod(own, own), "{own}");
        }
    }

    #[test]
    fn in_a_namespace_of_control_groups_other_pods_are_above_and_our_own_is_not_named() {
        let own = "0::/";
        let beside = format!("0::/../../pod{B}/c2");
        assert!(is_of_another_pod(own, &beside));
        let slice = format!(
            "0::/../../kubepods-pod{}.slice/c2.scope",
            B.replace('-', "_")
        );
        assert!(is_of_another_pod(own, &slice));
        for same in ["0::/", "0::/../c2"] {
            assert!(!is_of_another_pod(own, same), "{same}");
        }
    }

    #[test]
    fn from_the_node_every_pod_can_be_watched_and_from_a_pod_the_node() {
        let [in_pod, ..] = groups(A);
        let on_node = "0::/system.slice/agent.service";
        assert!(!is_of_another_pod(on_node, &in_pod));
        assert!(!is_of_another_pod(&in_pod, on_node));
        assert!(!is_of_another_pod(&in_pod, "0::/podman/pod1"));
    }
}
