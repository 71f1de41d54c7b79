//! hb's own scripts, recognised by their SHA-1 and run natively with exactly the meaning of their Lua text.

use super::commands::{Context, number_of};
use super::keyspace::Value;
use super::resp::Reply;
use bytes::Bytes;
use heartbeat::base::number::COUNT_MAX;
use heartbeat::wire::keys::{BEAT_SCRIPT, REGISTER_SCRIPT, ROSTER_SCRIPT};
use heartbeat::wire::roster::RosterEntry;
use std::sync::LazyLock;

/// A script that this store can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Register,
    Beat,
    Roster,
}

static NAMES: LazyLock<[(String, Script); 3]> = LazyLock::new(|| {
    let name = |text: &str| sha1_smol::Sha1::from(text).hexdigest();
    [
        (name(REGISTER_SCRIPT), Script::Register),
        (name(BEAT_SCRIPT), Script::Beat),
        (name(ROSTER_SCRIPT), Script::Roster),
    ]
});

impl Script {
    /// By SHA-1, upper or lower case.
    pub(super) fn named(sha: &[u8]) -> Option<Self> {
        let sha = sha.to_ascii_lowercase();
        NAMES
            .iter()
            .find(|(name, _)| name.as_bytes() == sha)
            .map(|(_, script)| *script)
    }

    /// By its text, with the name.
    pub(super) fn of(text: &[u8]) -> Option<(&'static str, Self)> {
        let name = sha1_smol::Sha1::from(text).hexdigest();
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(name, script)| (name.as_str(), *script))
    }

    pub(super) fn run(self, store: &mut Context<'_>, keys: &[Bytes], args: &[Bytes]) -> Reply {
        match (self, keys, args) {
            (Self::Register, [counter, agent], [floor, instance, ttl, breakable, fields @ ..])
                if fields.len().is_multiple_of(2) =>
            {
                let call = Register {
                    counter,
                    agent,
                    floor,
                    instance,
                    ttl,
                    breakable,
                    fields,
                };
                call.run(store)
            }
            (Self::Beat, [agent, counter, control], [epoch, ttl, channel, beat, fields @ ..])
                if !fields.is_empty() && fields.len().is_multiple_of(2) =>
            {
                let call = Beat {
                    agent,
                    counter,
                    control,
                    epoch,
                    ttl,
                    channel,
                    beat,
                    fields,
                };
                call.run(store)
            }
            (Self::Roster, [roster], [id, epoch, entry]) => enlist(store, roster, id, epoch, entry),
            (Self::Register | Self::Beat | Self::Roster, _, _) => {
                Reply::Error("ERR wrong number of keys or arguments for hb's script".to_owned())
            }
        }
    }
}

struct Register<'a> {
    counter: &'a Bytes,
    agent: &'a Bytes,
    floor: &'a Bytes,
    instance: &'a Bytes,
    ttl: &'a Bytes,
    breakable: &'a Bytes,
    fields: &'a [Bytes],
}

impl Register<'_> {
    fn run(&self, store: &mut Context<'_>) -> Reply {
        if !matches!(store.keys.get(self.agent), None | Some(Value::Hash(_))) {
            return super::commands::wrong_type();
        }
        let hashed = sane(store.field(self.agent, b"epoch"));
        if let Some(instance) = self.living(store) {
            let holder = store.field(self.agent, b"holder").unwrap_or_default();
            return Reply::Array(vec![
                Reply::text("held"),
                Reply::text(hashed.to_string()),
                Reply::Bulk(instance),
                Reply::Bulk(holder),
            ]);
        }
        let epoch = sane(store.text(self.counter))
            .max(hashed)
            .max(sane(Some(self.floor.clone())))
            .max(store.now.unix_us / 1000)
            + 1;
        let epoch = Bytes::from(epoch.to_string());
        store.keys.set(self.counter, epoch.clone());
        self.write(store, epoch)
    }

    /// The instance whose lease is alive and not to be broken.
    fn living(&self, store: &mut Context<'_>) -> Option<Bytes> {
        let instance = store
            .field(self.agent, b"instance")
            .filter(|instance| !instance.is_empty() && instance != self.instance)?;
        let breakable = *self.breakable == instance || self.breakable.as_ref() == b"*";
        let interval = sane(store.field(self.agent, b"intervalMs")) as f64;
        let Reply::Number(left) = store.run(&[Bytes::from_static(b"PTTL"), self.agent.clone()])
        else {
            return None;
        };
        let fresh = left as f64 > interval - (interval / 6.0).max(100.0);
        (!breakable && fresh).then_some(instance)
    }

    fn write(&self, store: &mut Context<'_>, epoch: Bytes) -> Reply {
        let agent = || self.agent.clone();
        let gone = [
            "HDEL",
            "",
            "stoppedAt",
            "beat",
            "pid",
            "slot",
            "sequence",
            "lastHeartbeat",
            "cpuPercent",
            "memoryMB",
        ];
        let mut gone = gone.map(|word| Bytes::from_static(word.as_bytes()));
        gone[1] = agent();
        store.run(&gone);
        let lease = [
            Bytes::from_static(b"HSET"),
            agent(),
            Bytes::from_static(b"epoch"),
            epoch.clone(),
            Bytes::from_static(b"instance"),
            self.instance.clone(),
        ];
        store.run(&[&lease, self.fields].concat());
        let expire = [Bytes::from_static(b"PEXPIRE"), agent(), self.ttl.clone()];
        if let failed @ Reply::Error(_) = store.run(&expire) {
            return failed;
        }
        Reply::Array(vec![Reply::text("granted"), Reply::Bulk(epoch)])
    }
}

fn enlist(
    store: &mut Context<'_>,
    roster: &Bytes,
    id: &Bytes,
    epoch: &Bytes,
    entry: &Bytes,
) -> Reply {
    if !matches!(store.keys.get(roster), None | Some(Value::Hash(_))) {
        return super::commands::wrong_type();
    }
    let known = store.field(roster, id).unwrap_or_default();
    let known = std::str::from_utf8(&known).ok();
    let known = known.and_then(|text| RosterEntry::decode(text).ok());
    if known.is_some_and(|entry| entry.epoch > sane(Some(epoch.clone()))) {
        return Reply::Number(0);
    }
    let hset = Bytes::from_static(b"HSET");
    store.run(&[hset, roster.clone(), id.clone(), entry.clone()]);
    Reply::Number(1)
}

struct Beat<'a> {
    agent: &'a Bytes,
    counter: &'a Bytes,
    control: &'a Bytes,
    epoch: &'a Bytes,
    ttl: &'a Bytes,
    channel: &'a Bytes,
    beat: &'a Bytes,
    fields: &'a [Bytes],
}

impl Beat<'_> {
    fn run(&self, store: &mut Context<'_>) -> Reply {
        let Some(epoch) = number_of(self.epoch).and_then(|n| u64::try_from(n).ok()) else {
            return Reply::Error("ERR the epoch is not a number".to_owned());
        };
        let counter = sane(store.text(self.counter));
        let held = counter.max(sane(store.field(self.agent, b"epoch")));
        if held > epoch {
            return Reply::Array(vec![Reply::text("fenced"), Reply::text(held.to_string())]);
        }
        if !matches!(store.keys.get(self.agent), None | Some(Value::Hash(_))) {
            return super::commands::wrong_type();
        }
        if counter < epoch {
            store.keys.set(self.counter, self.epoch.clone());
        }
        store.run(&[
            Bytes::from_static(b"HDEL"),
            self.agent.clone(),
            Bytes::from_static(b"stoppedAt"),
        ]);
        let hset = [
            &[Bytes::from_static(b"HSET"), self.agent.clone()],
            self.fields,
        ]
        .concat();
        store.run(&hset);
        let expire = [
            Bytes::from_static(b"PEXPIRE"),
            self.agent.clone(),
            self.ttl.clone(),
        ];
        if let failed @ Reply::Error(_) = store.run(&expire) {
            return failed;
        }
        store.run(&[
            Bytes::from_static(b"PUBLISH"),
            self.channel.clone(),
            self.beat.clone(),
        ]);
        let order = store.text(self.control).unwrap_or_default();
        Reply::Array(vec![Reply::text("ok"), Reply::Bulk(order)])
    }
}

/// The scripts' function of this name: a counter that cannot be counts as none.
fn sane(text: Option<Bytes>) -> u64 {
    let number = text.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse::<f64>().ok());
    number
        .filter(|n| (0.0..COUNT_MAX as f64).contains(n))
        .map_or(0, |n| n as u64)
}
