//! A Redis behind a Unix socket.

use super::{Running, eventually, saw};
use std::collections::HashMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// A Redis that a container without a network can reach: through a socket in a mounted directory.
pub(crate) struct UnixRedis {
    _server: Running,
    pub(crate) dir: tempfile::TempDir,
}

impl UnixRedis {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The container may map its root to somebody else.
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let mut server = Command::new("redis-server");
        server
            .args(["--port", "0", "--save", "", "--unixsocketperm", "777"])
            .arg("--unixsocket")
            .arg(dir.path().join("redis.sock"))
            .arg("--dir")
            .arg(dir.path())
            .stdout(Stdio::null());
        let redis = Self {
            _server: Running::start(&mut server),
            dir,
        };
        eventually("redis answers", || redis.connection());
        redis
    }

    fn connection(&self) -> Option<redis::Connection> {
        let url = format!("redis+unix://{}/redis.sock", self.dir.path().display());
        redis::Client::open(url).unwrap().get_connection().ok()
    }

    pub(crate) fn beat(&self, id: &str) -> Option<serde_json::Value> {
        serde_json::from_str(&self.field(id, "beat")?).ok()
    }

    /// Of an agent's hash.
    pub(crate) fn field(&self, id: &str, field: &str) -> Option<String> {
        let value: Option<String> = redis::cmd("HGET")
            .arg(&[&format!("agent:{id}"), field])
            .query(&mut self.connection()?)
            .ok()?;
        saw(&format!("{field} of {id}"), &value);
        value
    }

    pub(crate) fn events(&self) -> Vec<HashMap<String, String>> {
        let mut read = redis::cmd("XRANGE");
        let entries: Vec<(String, HashMap<String, String>)> = read
            .arg(&["hb:events", "-", "+"])
            .query(&mut self.connection().unwrap())
            .unwrap();
        entries.into_iter().map(|(_, event)| event).collect()
    }
}
