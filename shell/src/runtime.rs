//! What a process runs in, read once: it decides which rung of recovery reaches an agent.
//!
//! The outermost that can start the agent again: its pod, its container, its unit. Everything is read of the process
//! itself, so that an agent which is attached to from outside of its container is placed rightly.

use heartbeat::wire::beat::Runtime;
use std::path::{Path, PathBuf};

/// Files that an engine mounts into each container, from a directory named by the container.
const ENGINE_FILES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];
/// A pod's namespace, wherever its service account is mounted.
const POD_NAMESPACE: &str = "var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Programs that a unit or a container starts only to start another one.
const STARTERS: [&str; 10] = [
    "sh",
    "bash",
    "dash",
    "ash",
    "zsh",
    "ksh",
    "tini",
    "dumb-init",
    "docker-init",
    "catatonit",
];
/// Between the main process of a unit or container and the one that is looked at.
const ANCESTORS_MAX: usize = 16;

/// What the process runs in: this one, or the one of that number. `host` is the name of this machine.
///
/// | kind | id |
/// |---|---|
/// | `kubernetes` | `NAMESPACE/POD`; without the first part where it is not known |
/// | `docker`, `podman` | 64 hexadecimal digits; none for a process that the container holds beside others |
/// | `systemd` | `UNIT`, or `user@UID.service/UNIT` of a user's manager |
/// | `host` | none |
/// | `unknown` | none: a container that has no name in here |
pub fn detect(host: &str, process: Option<i32>) -> Runtime {
    classify(&Seen::read(host, process))
}

/// What a pod's container must be given so that its pod has a name, where it has none: a pod that is not named is never
/// evicted or restarted.
pub fn missing_lines(runtime: &Runtime) -> Option<&'static str> {
    (runtime.kind == "kubernetes" && !runtime.id.contains('/')).then_some(
        "the namespace of this pod is not known, so no monitor can bring the pod back; add to this container: env: [{name: \
         HB_POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: HB_POD_NAMESPACE, valueFrom: {fieldRef: \
         {fieldPath: metadata.namespace}}}]",
    )
}

/// The name of this machine, as beats report it.
pub fn host_name() -> String {
    nix::unistd::gethostname().map_or_else(
        |_| "localhost".to_owned(),
        |host| host.to_string_lossy().into_owned(),
    )
}

/// What is visible of a process.
#[derive(Debug, Default)]
struct Seen {
    /// Its environment, with ours behind it: variables that name the pod may be given to the sidecar alone.
    environment: Vec<(String, String)>,
    cgroup: String,
    mountinfo: String,
    /// The namespace of the pod's service account.
    namespace: String,
    /// `/run/.containerenv`.
    containerenv: String,
    /// The name of its machine.
    host: String,
    in_container: bool,
    /// systemd manages this machine.
    booted: bool,
    /// It is the main process of its unit, or all that a script of the unit starts.
    leads_unit: bool,
    /// The same of its container.
    leads_container: bool,
}

impl Seen {
    fn read(host: &str, process: Option<i32>) -> Self {
        let pid = process.unwrap_or_else(|| i32::try_from(std::process::id()).unwrap_or_default());
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let text = |path: &str| std::fs::read_to_string(proc.join(path)).unwrap_or_default();
        let mut environment = process.map_or_else(Vec::new, |_| variables(&proc));
        let starts_unit = |own: &[(String, String)]| leads_unit(pid, own);
        let ours: Vec<_> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let leads_unit = if process.is_some() {
            starts_unit(&environment)
        } else {
            starts_unit(&ours)
        };
        environment.extend(ours);
        let is_there = |path: &str| proc.join("root").join(path).exists();
        Self {
            cgroup: text("cgroup"),
            mountinfo: text("mountinfo"),
            namespace: text(&format!("root/{POD_NAMESPACE}")),
            containerenv: text("root/run/.containerenv"),
            host: host.to_owned(),
            in_container: [".dockerenv", "run/.containerenv", "run/systemd/container"]
                .into_iter()
                .any(is_there)
                || environment.iter().any(|(name, _)| name == "container"),
            booted: is_there("run/systemd/system"),
            leads_unit,
            leads_container: leads_container(pid),
            environment,
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn classify(seen: &Seen) -> Runtime {
    let unit = || unit(&seen.cgroup).filter(|_| seen.booted && seen.leads_unit);
    let (kind, id) = if is_pod(seen) {
        ("kubernetes", pod(seen))
    } else if let Some(container) = container(seen).filter(|_| seen.leads_container) {
        container
    } else if let Some(unit) = unit() {
        ("systemd", unit)
    } else if let Some((kind, _)) = container(seen) {
        (kind, String::new())
    } else if seen.in_container {
        ("unknown", String::new())
    } else {
        ("host", String::new())
    };
    Runtime {
        kind: kind.to_owned(),
        id,
    }
}

/// The kubelet gives every container the address of the API, whatever else it hides.
fn is_pod(seen: &Seen) -> bool {
    seen.variable("KUBERNETES_SERVICE_HOST").is_some()
        || seen.variable("HB_POD_NAME").is_some()
        || seen.cgroup.contains("/kubepods")
}

fn pod(seen: &Seen) -> String {
    let given = |name| seen.variable(name).filter(|value| !value.is_empty());
    // A pod's host name is its own name, unless it uses the network of its node.
    let name = given("HB_POD_NAME")
        .or(given("HOSTNAME"))
        .unwrap_or(&seen.host);
    let namespace = given("HB_POD_NAMESPACE").unwrap_or(seen.namespace.trim());
    if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    }
}

/// By its control group, which is its own. A container that shares the network of another one has that one's files.
fn container(seen: &Seen) -> Option<(&'static str, String)> {
    let paths = seen
        .cgroup
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2));
    let mut parts = paths.flat_map(|path| path.rsplit('/'));
    parts
        .find_map(of_cgroup)
        .or_else(|| seen.mountinfo.lines().find_map(of_mount))
        .or_else(|| {
            let (_, rest) = seen.containerenv.split_once("\nid=\"")?;
            let (id, _) = rest.split_once('"')?;
            is_id(id).then(|| ("podman", id.to_owned()))
        })
}

/// `ID`, `docker-ID.scope`, `libpod-ID.scope`, `libpod-ID`.
fn of_cgroup(part: &str) -> Option<(&'static str, String)> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let (kind, id) = match part.split_once('-') {
        Some(("docker", id)) => ("docker", id),
        Some(("libpod", id)) => ("podman", id),
        _ => ("docker", part),
    };
    is_id(id).then(|| (kind, id.to_owned()))
}

/// `…/containers/ID/hosts` of Docker, `…/overlay-containers/ID/userdata/hosts` of Podman.
fn of_mount(line: &str) -> Option<(&'static str, String)> {
    let mut fields = line.split(' ').skip(3);
    let (root, at) = (fields.next()?, fields.next()?);
    if !ENGINE_FILES.contains(&at) {
        return None;
    }
    let parts: Vec<&str> = root.split('/').collect();
    let place = parts.iter().position(|part| is_id(part))?;
    let parent = parts.get(place.checked_sub(1)?)?;
    let kind = match parts.get(place + 1) {
        Some(&"userdata") => "podman",
        _ if *parent == "containers" => "docker",
        _ => return None,
    };
    Some((kind, parts.get(place)?.to_string()))
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The innermost service of the control group's path, with the user's manager where that started it.
fn unit(cgroup: &str) -> Option<String> {
    let path = cgroup.lines().find_map(|line| {
        let of_systemd = line.strip_prefix("0::").filter(|path| *path != "/");
        of_systemd.or_else(|| line.split_once(":name=systemd:").map(|(_, path)| path))
    })?;
    let is_manager = |part: &&str| part.starts_with("user@");
    let mut services = path.rsplit('/').filter(|part| part.ends_with(".service"));
    let unit = services.next().filter(|part| !is_manager(part))?;
    Some(match services.find(is_manager) {
        Some(manager) => format!("{manager}/{unit}"),
        None => unit.to_owned(),
    })
}

/// A unit may hold much more than this agent: one started by cron, by another supervisor or from a remote shell is in
/// their unit. A restart must end no work but this one's.
fn leads_unit(pid: i32, environment: &[(String, String)]) -> bool {
    let variable = |name: &str| environment.iter().find(|(known, _)| known == name);
    match variable("SYSTEMD_EXEC_PID") {
        Some((_, main)) => main.parse().is_ok_and(|main| is_started_by(pid, main)),
        // Older than systemd 248.
        None => variable("INVOCATION_ID").is_some() && parent(pid).is_some_and(|(_, of)| of == 1),
    }
}

/// A container may hold much more, too: an agent that `docker exec` started beside its main process, or one of several
/// that a supervisor in it starts.
fn leads_container(pid: i32) -> bool {
    let is_first = |pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mut numbers = status
            .lines()
            .filter_map(|line| line.strip_prefix("NSpid:"));
        let innermost = numbers
            .next()
            .and_then(|line| line.split_whitespace().next_back());
        innermost == Some("1")
    };
    chain(pid).into_iter().any(is_first)
}

/// The process itself, or a starter above it with only starters between.
fn is_started_by(pid: i32, main: i32) -> bool {
    chain(pid).contains(&main)
}

/// The process and the starters above it.
fn chain(pid: i32) -> Vec<i32> {
    let mut chain = vec![pid];
    let mut at = pid;
    while let Some((_, above)) = parent(at).filter(|_| chain.len() < ANCESTORS_MAX) {
        let is_starter = parent(above).is_some_and(|(name, _)| STARTERS.contains(&name.as_str()));
        if !is_starter {
            break;
        }
        chain.push(above);
        at = above;
    }
    chain
}

/// The name of a process and the number of its parent.
fn parent(pid: i32) -> Option<(String, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = (stat.split_once('(')?.1).rsplit_once(')')?;
    let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
    Some((name.to_owned(), parent))
}

fn variables(proc: &Path) -> Vec<(String, String)> {
    let bytes = std::fs::read(proc.join("environ")).unwrap_or_default(); // another user's
    let text = String::from_utf8_lossy(&bytes);
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3fa0000000000000000000000000000000000000000000000000000000000b0d";
    const OTHER: &str = "111100000000000000000000000000000000000000000000000000000000ffff";

    fn seen(cgroup: &str, mountinfo: &str, environment: &[(&str, &str)]) -> Seen {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Seen {
            cgroup: cgroup.to_owned(),
            mountinfo: mountinfo.to_owned(),
            environment: environment.iter().map(owned).collect(),
            host: "node-3".to_owned(),
            booted: true,
            leads_unit: true,
            leads_container: true,
            ..Seen::default()
        }
    }

    fn found(seen: &Seen) -> (String, String) {
        let runtime = classify(seen);
        (runtime.kind, runtime.id)
    }

    fn pair(kind: &str, id: &str) -> (String, String) {
        (kind.to_owned(), id.to_owned())
    }

    #[test]
    fn a_container_is_known_by_its_control_group() {
        for (cgroup, kind) in [
            (format!("1:name=systemd:/docker/{ID}\n0::/"), "docker"),
            (format!("0::/system.slice/docker-{ID}.scope"), "docker"),
            (format!("0::/my.slice/{ID}"), "docker"),
            (
                format!("0::/machine.slice/libpod-{ID}.scope/container"),
                "podman",
            ),
            (format!("0::/libpod_parent/libpod-{ID}"), "podman"),
        ] {
            assert_eq!(found(&seen(&cgroup, "", &[])), pair(kind, ID), "{cgroup}");
        }
    }

    #[test]
    fn a_container_without_a_control_group_to_see_is_known_by_its_engines_mounts() {
        for (root, kind) in [
            (format!("/var/lib/docker/containers/{ID}/hosts"), "docker"),
            (format!("/x/engine/data/containers/{ID}/hosts"), "docker"),
            (
                format!("/containers/storage/overlay-containers/{ID}/userdata/hosts"),
                "podman",
            ),
        ] {
            let mounts =
                format!("1 2 8:1 / / rw - ext4 x rw\n3 1 8:1 {root} /etc/hosts rw - ext4 x rw");
            assert_eq!(found(&seen("0::/", &mounts, &[])), pair(kind, ID), "{root}");
        }
    }

    #[test]
    fn a_container_in_the_network_of_another_one_is_not_taken_for_it() {
        let mounts =
            format!("3 1 8:1 /var/lib/docker/containers/{OTHER}/hosts /etc/hosts rw - x x x");
        let cgroup = format!("0::/system.slice/docker-{ID}.scope");
        assert_eq!(found(&seen(&cgroup, &mounts, &[])), pair("docker", ID));
    }

    #[test]
    fn a_container_that_holds_more_than_the_agent_is_not_named() {
        let mut beside = seen(&format!("0::/system.slice/docker-{ID}.scope"), "", &[]);
        beside.leads_container = false;
        assert_eq!(found(&beside), pair("docker", ""));
        beside.cgroup = format!("0::/docker/{ID}/system.slice/agent.service");
        assert_eq!(found(&beside), pair("systemd", "agent.service"));
    }

    #[test]
    fn directories_that_a_user_mounts_are_no_container() {
        let mounts = format!("3 1 8:1 /home/me/containers/{ID}/data /data rw - ext4 x rw");
        assert_eq!(found(&seen("0::/", &mounts, &[])), pair("host", ""));
    }

    #[test]
    fn a_pod_is_named_by_the_downward_api_else_by_its_host_name_and_service_account() {
        let api = ("KUBERNETES_SERVICE_HOST", "10.96.0.1");
        let named = [
            api,
            ("HB_POD_NAME", "writer-0"),
            ("HB_POD_NAMESPACE", "agents"),
        ];
        assert_eq!(
            found(&seen("0::/", "", &named)),
            pair("kubernetes", "agents/writer-0")
        );
        let mut plain = seen("0::/", "", &[api]);
        assert_eq!(
            found(&plain),
            pair("kubernetes", "node-3"),
            "no namespace is known"
        );
        assert!(
            missing_lines(&classify(&plain))
                .is_some_and(|lines| lines.contains("metadata.namespace"))
        );
        assert_eq!(missing_lines(&classify(&seen("0::/", "", &named))), None);
        plain.namespace = "prod\n".to_owned();
        assert_eq!(found(&plain), pair("kubernetes", "prod/node-3"));
    }

    #[test]
    fn a_pod_is_no_docker_container_although_docker_may_run_it() {
        let cgroup = format!("0::/kubepods.slice/kubepods-pod1.slice/docker-{ID}.scope");
        let environment = [("HB_POD_NAMESPACE", "prod")];
        assert_eq!(
            found(&seen(&cgroup, "", &environment)),
            pair("kubernetes", "prod/node-3")
        );
    }

    #[test]
    fn a_unit_is_the_innermost_service_and_its_manager() {
        for (cgroup, unit) in [
            ("0::/system.slice/agent.service\n", "agent.service"),
            (
                "12:cpu:/\n1:name=systemd:/system.slice/agent.service\n0::/\n",
                "agent.service",
            ),
            (
                "0::/user.slice/user-7.slice/user@7.service/app.slice/agent@1.service",
                "user@7.service/agent@1.service",
            ),
        ] {
            assert_eq!(
                found(&seen(cgroup, "", &[])),
                pair("systemd", unit),
                "{cgroup}"
            );
        }
    }

    #[test]
    fn a_session_is_the_host_and_so_is_a_unit_that_holds_more_than_the_agent() {
        for cgroup in [
            "0::/user.slice/user-7.slice/session-3.scope\n",
            "0::/user.slice/user-7.slice/user@7.service/app.slice/x.scope\n",
        ] {
            assert_eq!(found(&seen(cgroup, "", &[])), pair("host", ""), "{cgroup}");
        }
        let mut cron = seen("0::/system.slice/cron.service\n", "", &[]);
        cron.leads_unit = false;
        assert_eq!(found(&cron), pair("host", ""));
    }

    #[test]
    fn a_container_that_cannot_be_named_is_unknown() {
        let mut boxed = seen("0::/", "", &[]);
        boxed.in_container = true;
        assert_eq!(found(&boxed), pair("unknown", ""));
        boxed.containerenv = format!("engine=\"podman-4\"\nname=\"x\"\nid=\"{ID}\"\n");
        assert_eq!(found(&boxed), pair("podman", ID));
    }

    #[test]
    fn the_main_process_is_known_through_starters_alone() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(is_started_by(me, me));
        assert!(
            !is_started_by(me, 1),
            "what started the tests is no chain of shells from PID 1"
        );
        let (name, above) = parent(me).unwrap();
        assert!(!name.is_empty() && above > 0);
    }

    #[test]
    fn what_this_process_runs_in_has_a_kind() {
        let own = detect("node-3", None);
        let of_pid = detect("node-3", i32::try_from(std::process::id()).ok());
        assert_eq!(own, of_pid);
        let kinds = [
            "docker",
            "podman",
            "kubernetes",
            "systemd",
            "host",
            "unknown",
        ];
        assert!(kinds.contains(&own.kind.as_str()), "{own:?}");
    }
}
