//! The body that makes a container like an inspected one. Settings are passed on as they are, also those that this
//! version does not know.

use crate::recovery::Job;
use crate::recovery::engine::{AGENT_LABEL, REPLACEMENT_LABEL};
use serde_json::{Map, Value, json};

/// Networks that each container may use without one being made. They know no aliases.
const BUILT_IN_NETWORKS: [&str; 5] = ["bridge", "default", "host", "none", "podman"];

/// What a replacement is made from.
pub(super) enum Origin {
    /// An inspected container, which may be gone by now.
    Container(Value),
    /// Nothing but an image.
    Image,
}

/// How the new container is made.
pub(super) struct Plan {
    pub(super) body: Value,
    /// Networks to connect it to afterwards, with its endpoint's settings: older engines take one at the creation.
    pub(super) networks: Vec<(String, Value)>,
}

impl Origin {
    pub(super) fn id(&self) -> Option<&str> {
        self.text("/Id")
    }

    /// Its name, without the slash.
    pub(super) fn name(&self) -> Option<&str> {
        self.text("/Name").map(|name| name.trim_start_matches('/'))
    }

    /// Empty where it is not known.
    pub(super) fn image_name(&self) -> &str {
        self.text("/Config/Image").unwrap_or_default()
    }

    /// Empty where it is not known.
    pub(super) fn image_id(&self) -> &str {
        self.text("/Image").unwrap_or_default()
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        match self {
            Self::Container(settings) => settings.pointer(pointer)?.as_str(),
            Self::Image => None,
        }
    }
}

/// `ID-replacement-`, with the letters that a container's name may have.
pub(super) fn base_name(agent: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            c
        } else {
            '_'
        }
    };
    let name: String = agent.chars().map(safe).collect();
    format!("{name}-replacement-")
}

/// The query that pulls this image and no other tag of it.
pub(super) fn pull_query(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let tag = if last.contains([':', '@']) {
        ""
    } else {
        "&tag=latest"
    };
    format!("fromImage={}{tag}", encoded(image))
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:@".contains(&byte);
    let one = |byte: u8| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(one).collect()
}

/// The body of the creation. `defaults`: the old image, when another one takes its place and brings defaults of its own.
pub(super) fn creation(origin: &Origin, defaults: Option<&Value>, image: &str, job: &Job) -> Plan {
    let empty = Value::Null;
    let old = match origin {
        Origin::Container(settings) => settings,
        Origin::Image => &empty,
    };
    let mut config = object(&old["Config"]);
    let mut host = object(&old["HostConfig"]);
    if let Some(image) = defaults {
        without_defaults(&mut config, &image["Config"]);
    }
    as_it_is_asked_for(&mut host);
    config.insert("Image".to_owned(), json!(image));
    config.insert("Env".to_owned(), environment(&config, job));
    config.insert("Labels".to_owned(), labels(&config, origin, job));
    // What is running now, not what was asked for: the engine gives the new container its own.
    config.remove("MacAddress");
    host.remove("ContainerIDFile");
    let hostname = config.get("Hostname").and_then(Value::as_str).unwrap_or("");
    let id = origin.id().unwrap_or_default();
    if !hostname.is_empty() && id.starts_with(hostname) {
        config.remove("Hostname");
    }
    let (mode, first, networks) = networks(origin, &old["NetworkSettings"]["Networks"], &host);
    if mode.starts_with("container:") {
        for belongs_to_the_other in ["Hostname", "Domainname", "ExposedPorts"] {
            config.remove(belongs_to_the_other);
        }
    }
    host.insert("NetworkMode".to_owned(), json!(mode));
    keep_volumes(&mut host, &old["Mounts"]);
    config.insert("HostConfig".to_owned(), Value::Object(host));
    config.insert(
        "NetworkingConfig".to_owned(),
        json!({ "EndpointsConfig": first }),
    );
    Plan {
        body: Value::Object(config),
        networks,
    }
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// Leaves out what the old image gave the container: the new image has its own.
fn without_defaults(config: &mut Map<String, Value>, image: &Value) {
    for (key, default) in object(image) {
        let Some(value) = config.get_mut(&key) else {
            continue;
        };
        match (value, &default) {
            (Value::Array(own), Value::Array(given)) if key == "Env" => {
                own.retain(|entry| !given.contains(entry));
            }
            (Value::Object(own), Value::Object(given)) => {
                own.retain(|name, value| given.get(name) != Some(value));
            }
            (value, default) if value == default => {
                config.remove(&key);
            }
            _ => {}
        }
    }
}

fn environment(config: &Map<String, Value>, job: &Job) -> Value {
    let mut entries: Vec<String> = config
        .get("Env")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.as_str().map(str::to_owned))
        .collect();
    let names = |entry: &str, name: &str| entry.split('=').next() == Some(name);
    for (name, value) in [
        ("AGENT_ID", job.agent.as_str()),
        ("HB_AGENT_ID", job.agent.as_str()),
        ("HB_TAKEOVER", "1"),
    ] {
        entries.retain(|entry| !names(entry, name));
        entries.push(format!("{name}={value}"));
    }
    // The store by the name that worked inside the old container, if it had one.
    let knows = |name| entries.iter().any(|entry| names(entry, name));
    if let Some(url) = &job.redis_url
        && !knows("REDIS_URL")
        && !knows("HB_REDIS_URL")
    {
        entries.push(format!("REDIS_URL={url}"));
    }
    json!(entries)
}

fn labels(config: &Map<String, Value>, origin: &Origin, job: &Job) -> Value {
    let mut labels = object(config.get("Labels").unwrap_or(&Value::Null));
    for (name, value) in [
        (AGENT_LABEL, job.agent.to_string()),
        (REPLACEMENT_LABEL, origin.id().unwrap_or("").to_owned()),
        ("hb.incident", job.incident.clone()),
        ("hb.epoch", job.epoch.to_string()),
        ("hb.token", job.token.to_string()),
    ] {
        labels.insert(name.to_owned(), json!(value));
    }
    Value::Object(labels)
}

/// Volumes that the engine made for the old container by itself: without a name of theirs the new one would get empty ones.
fn keep_volumes(host: &mut Map<String, Value>, mounts: &Value) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut binds: Vec<Value> = host
        .get("Binds")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut named: Vec<String> = binds
        .iter()
        .filter_map(|bind| bind.as_str()?.split(':').nth(1).map(str::to_owned))
        .collect();
    let given = host.get("Mounts").and_then(Value::as_array);
    named.extend(
        given
            .into_iter()
            .flatten()
            .filter_map(|mount| text(&mount["Target"])),
    );
    let from_others = host.get("VolumesFrom").is_some_and(|from| !from.is_null());
    for mount in mounts.as_array().into_iter().flatten() {
        let (Some(volume), Some(at)) = (text(&mount["Name"]), text(&mount["Destination"])) else {
            continue;
        };
        if mount["Type"] == "volume" && !named.contains(&at) && !from_others {
            let mode = if mount["RW"] == false { ":ro" } else { "" };
            binds.push(json!(format!("{volume}:{at}{mode}")));
        }
    }
    host.insert("Binds".to_owned(), Value::Array(binds));
}

/// Podman shows some settings in another form than the one it takes. Docker's form is left as it is.
fn as_it_is_asked_for(host: &mut Map<String, Value>) {
    for limit in host.get_mut("Ulimits").into_iter().flat_map(entries) {
        let name = limit["Name"].as_str().unwrap_or_default();
        if let Some(name) = name.strip_prefix("RLIMIT_") {
            limit["Name"] = json!(name.to_ascii_lowercase());
        }
    }
    for device in host.get_mut("Devices").into_iter().flat_map(entries) {
        if device["CgroupPermissions"] == "" {
            device["CgroupPermissions"] = json!("rwm");
        }
    }
    // Both say the same, and it takes one of them.
    if host.get("NanoCpus").and_then(Value::as_i64).unwrap_or(0) != 0 {
        host.remove("CpuPeriod");
        host.remove("CpuQuota");
    }
}

fn entries(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter(|entry| entry.is_object())
}

/// The network mode of the creation, its endpoint, and the networks after it.
fn networks(
    origin: &Origin,
    networks: &Value,
    host: &Map<String, Value>,
) -> (String, Map<String, Value>, Vec<(String, Value)>) {
    let mode = host.get("NetworkMode").and_then(Value::as_str);
    let mode = mode.unwrap_or("default");
    if matches!(mode, "host" | "none") || mode.starts_with("container:") {
        return (mode.to_owned(), Map::new(), Vec::new());
    }
    let asked = if mode == "default" { "bridge" } else { mode };
    let networks = object(networks);
    // A network may be named by its id.
    let is_asked = |name: &str, endpoint: &Value| {
        name == asked || endpoint["NetworkID"].as_str() == Some(asked)
    };
    let found = networks.iter().find(|(name, one)| is_asked(name, one));
    // Podman calls each network of its own kind `bridge`; and a container may have left the one that it was made in.
    let primary = found.or_else(|| networks.iter().next());
    let Some((primary, _)) = primary else {
        return (mode.to_owned(), Map::new(), Vec::new());
    };
    let mode = if found.is_some() { mode } else { primary };
    let (first, others) = networks
        .iter()
        .map(|(name, endpoint)| (name.clone(), endpoint_of(origin, name, endpoint)))
        .partition::<Vec<_>, _>(|(name, _)| name == primary);
    (mode.to_owned(), first.into_iter().collect(), others)
}

/// What was asked for, without what the engine assigned.
fn endpoint_of(origin: &Origin, network: &str, endpoint: &Value) -> Value {
    let mut own = Map::new();
    for asked in ["IPAMConfig", "Links", "DriverOpts", "GwPriority"] {
        if let Some(value) = endpoint.get(asked).filter(|value| !value.is_null()) {
            own.insert(asked.to_owned(), value.clone());
        }
    }
    if BUILT_IN_NETWORKS.contains(&network) {
        return Value::Object(own);
    }
    let id = origin.id().unwrap_or_default();
    let mut aliases: Vec<String> = endpoint["Aliases"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|alias| alias.as_str().map(str::to_owned))
        .filter(|alias| alias.len() < 12 || !id.starts_with(alias.as_str()))
        .collect();
    // Others reached it by its name.
    let name = origin.name().map(str::to_owned);
    aliases.extend(name.filter(|name| !aliases.contains(name)));
    own.insert("Aliases".to_owned(), json!(aliases));
    Value::Object(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::tests::job;
    use heartbeat::fleet::ladder::rung::Rung;

    const ID: &str = "3fa0000000000000000000000000000000000000000000000000000000000b0d";

    fn old(host: &Value, config: &Value, networks: &Value) -> Origin {
        Origin::Container(json!({
            "Id": ID, "Name": "/writer", "Image": "sha256:1", "Config": config, "HostConfig": host,
            "NetworkSettings": {"Networks": networks}
        }))
    }

    fn plan(origin: &Origin, defaults: Option<&Value>) -> Plan {
        creation(origin, defaults, "agent:2", &job(Rung::Replace))
    }

    #[test]
    fn a_setting_that_this_version_does_not_know_is_passed_on() {
        let origin = old(&json!({"Tomorrow": [1]}), &json!({"Next": "x"}), &json!({}));
        let body = plan(&origin, None).body;
        assert_eq!(
            (&body["HostConfig"]["Tomorrow"], &body["Next"]),
            (&json!([1]), &json!("x"))
        );
    }

    #[test]
    fn what_the_engine_assigned_is_assigned_again() {
        let config = json!({"Hostname": &ID[..12], "MacAddress": "02:42:ac:11:00:02"});
        let endpoint = json!({
            "IPAMConfig": {"IPv4Address": "10.1.0.9"}, "IPAddress": "10.1.0.9", "MacAddress": "02:42:ac:11:00:02",
            "Aliases": ["db", &ID[..12]]
        });
        let origin = old(
            &json!({"NetworkMode": "own"}),
            &config,
            &json!({"own": endpoint}),
        );
        let body = plan(&origin, None).body;
        assert_eq!(
            (&body["Hostname"], &body["MacAddress"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(
            body["NetworkingConfig"]["EndpointsConfig"]["own"],
            json!({"IPAMConfig": {"IPv4Address": "10.1.0.9"}, "Aliases": ["db", "writer"]})
        );
    }

    #[test]
    fn in_the_network_of_another_container_there_are_no_endpoints_and_no_host_name() {
        let config = json!({"Hostname": "vpn", "ExposedPorts": {"80/tcp": {}}});
        let origin = old(
            &json!({"NetworkMode": "container:vpn"}),
            &config,
            &json!({"x": {}}),
        );
        let plan = plan(&origin, None);
        assert!(plan.body["Hostname"].is_null() && plan.body["ExposedPorts"].is_null());
        assert_eq!(plan.body["NetworkingConfig"]["EndpointsConfig"], json!({}));
        assert!(plan.networks.is_empty());
    }

    /// As Podman 4.3 shows what was given as `--ulimit nofile=512:600 --cpus 0.5 --device /dev/null:/dev/n`.
    #[test]
    fn what_podman_shows_is_written_as_it_takes_it() {
        let shown = json!({
            "Ulimits": [{"Name": "RLIMIT_NOFILE", "Soft": 512, "Hard": 600}], "NanoCpus": 500_000_000,
            "CpuPeriod": 100_000, "CpuQuota": 50_000,
            "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/n", "CgroupPermissions": ""}]
        });
        let host = plan(&old(&shown, &json!({}), &json!({})), None).body["HostConfig"].clone();
        assert_eq!(host["Ulimits"][0]["Name"], "nofile");
        assert_eq!(host["Devices"][0]["CgroupPermissions"], "rwm");
        assert_eq!(host["NanoCpus"], 500_000_000);
        assert!(host["CpuPeriod"].is_null() && host["CpuQuota"].is_null());
    }

    /// Podman shows the mode `bridge` for each network of that kind.
    #[test]
    fn a_network_that_the_mode_does_not_name_is_that_of_the_creation() {
        let shown = json!({"NetworkMode": "bridge"});
        let networks = json!({"own": {"Aliases": ["db"]}, "second": {}});
        let plan = plan(&old(&shown, &json!({}), &networks), None);
        assert_eq!(plan.body["HostConfig"]["NetworkMode"], "own");
        assert_eq!(
            plan.body["NetworkingConfig"]["EndpointsConfig"]["own"]["Aliases"],
            json!(["db", "writer"])
        );
        let after: Vec<&str> = plan
            .networks
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(after, ["second"]);
    }

    #[test]
    fn on_the_default_network_no_aliases_are_asked_for() {
        let networks = json!({"bridge": {"Aliases": null}});
        let body = plan(
            &old(&json!({"NetworkMode": "default"}), &json!({}), &networks),
            None,
        )
        .body;
        assert_eq!(
            body["NetworkingConfig"]["EndpointsConfig"],
            json!({"bridge": {}})
        );
    }

    #[test]
    fn another_image_brings_its_own_defaults_and_keeps_what_a_person_set() {
        let config = json!({
            "Env": ["PATH=/old", "KEY=mine"], "Cmd": ["old"], "User": "me", "Labels": {"of": "image", "my": "own"}
        });
        let image = json!({"Config": {
            "Env": ["PATH=/old"], "Cmd": ["old"], "User": "", "Labels": {"of": "image"}
        }});
        let body = plan(&old(&json!({}), &config, &json!({})), Some(&image)).body;
        assert_eq!((&body["Cmd"], &body["User"]), (&Value::Null, &json!("me")));
        assert_eq!(body["Env"][0], "KEY=mine");
        assert_eq!(
            (&body["Labels"]["of"], &body["Labels"]["my"]),
            (&Value::Null, &json!("own"))
        );
    }

    #[test]
    fn the_identity_is_set_once_and_a_known_store_is_kept() {
        let mut wanted = job(Rung::Replace);
        wanted.redis_url = Some("redis://monitors-own".to_owned());
        for (env, store) in [
            (
                json!(["AGENT_ID=other", "REDIS_URL=redis://inside"]),
                "REDIS_URL=redis://inside",
            ),
            (json!(["AGENT_ID=other"]), "REDIS_URL=redis://monitors-own"),
        ] {
            let origin = old(&json!({}), &json!({"Env": env}), &json!({}));
            let body = creation(&origin, None, "agent:2", &wanted).body;
            let entries: Vec<&str> = body["Env"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            for entry in [
                "AGENT_ID=writer-1",
                "HB_AGENT_ID=writer-1",
                "HB_TAKEOVER=1",
                store,
            ] {
                assert!(entries.contains(&entry), "{entry} in {entries:?}");
            }
            assert_eq!(entries.len(), 4, "{entries:?}");
        }
    }

    #[test]
    fn an_image_is_pulled_with_one_tag() {
        for (image, query) in [
            ("agent", "fromImage=agent&tag=latest"),
            (
                "host:5000/a/agent",
                "fromImage=host:5000/a/agent&tag=latest",
            ),
            ("agent:2", "fromImage=agent:2"),
            ("agent@sha256:1", "fromImage=agent@sha256:1"),
            ("a b&tag=x", "fromImage=a%20b%26tag%3Dx&tag=latest"),
        ] {
            assert_eq!(pull_query(image), query);
        }
    }

    #[test]
    fn a_name_has_the_letters_that_an_engine_takes() {
        assert_eq!(base_name("team:writer@1"), "team_writer_1-replacement-");
    }
}
