//! hb's own scripts, recognised by their SHA-1 and run natively with exactly the meaning of their Lua text.

use super::commands::{Context, number_of};
use super::keyspace::Value;
use super::resp::Reply;
use bytes::Bytes;
use heartbeat::base::number::COUNT_MAX;
use heartbeat::wire::keys::{
    BEAT_SCRIPT, LEADER_SCRIPT, LEASE_SCRIPT, REGISTER_SCRIPT, ROSTER_SCRIPT,
};
use heartbeat::wire::leader::Leader;
use heartbeat::wire::roster::RosterEntry;
use std::sync::LazyLock;

/// A script that this store can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Register,
    Beat,
    Roster,
    Lease,
    Leader,
}

static NAMES: LazyLock<[(String, Script); 5]> = LazyLock::new(|| {
    let name = |text: &str| sha1_smol::Sha1::from(text).hexdigest();
    [
        (name(REGISTER_SCRIPT), Script::Register),
        (name(BEAT_SCRIPT), Script::Beat),
        (name(ROSTER_SCRIPT), Script::Roster),
        (name(LEASE_SCRIPT), Script::Lease),
        (name(LEADER_SCRIPT), Script::Leader),
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
            (
                Self::Register,
                [counter, agent, lease],
                [floor, instance, ttl, breakable, exclusive, fields @ ..],
            ) if fields.len().is_multiple_of(2) => {
                let call = Register {
                    counter,
                    agent,
                    lease,
                    floor,
                    instance,
                    ttl,
                    breakable,
                    exclusive,
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
            (Self::Lease, [lease, agent, counter], [epoch, instance, ttl]) => {
                renew(store, [lease, agent, counter], epoch, instance, ttl)
            }
            (Self::Leader, [leader, fence], [instance, ttl, breakable]) => {
                lead(store, [leader, fence], instance, ttl, breakable)
            }
            (Self::Register | Self::Beat | Self::Roster | Self::Lease | Self::Leader, _, _) => {
                Reply::Error("ERR wrong number of keys or arguments for hb's script".to_owned())
            }
        }
    }
}

struct Register<'a> {
    counter: &'a Bytes,
    agent: &'a Bytes,
    lease: &'a Bytes,
    floor: &'a Bytes,
    instance: &'a Bytes,
    ttl: &'a Bytes,
    breakable: &'a Bytes,
    exclusive: &'a Bytes,
    fields: &'a [Bytes],
}

impl Register<'_> {
    fn run(&self, store: &mut Context<'_>) -> Reply {
        if !matches!(store.keys.get(self.agent), None | Some(Value::Hash(_))) {
            return super::commands::wrong_type();
        }
        let hashed = sane(store.field(self.agent, b"epoch"));
        let instance = store.field(self.agent, b"instance").unwrap_or_default();
        let leased = store.text(self.lease).unwrap_or_default();
        let kept = self.is_foreign(&leased) && (!self.takes_any() || self.is_exclusive());
        if !kept && self.is_living(store, &instance) {
            let holder = store.field(self.agent, b"holder").unwrap_or_default();
            return held(hashed, instance, holder, 0);
        }
        let epoch = if !kept || self.takes_any() {
            self.next_epoch(store, hashed)
        } else {
            hashed
        };
        if kept {
            let holder = store.field(self.agent, b"holder");
            let holder = holder.filter(|_| leased == instance).unwrap_or_default();
            let left = left(store, self.lease);
            return held(epoch, leased, holder, left);
        }
        self.write(store, Bytes::from(epoch.to_string()))
    }

    fn is_exclusive(&self) -> bool {
        sane(Some(self.exclusive.clone())) > 0
    }

    fn takes_any(&self) -> bool {
        self.breakable.as_ref() == b"*"
    }

    /// Whether a holder is another's, and not to be broken by name.
    fn is_foreign(&self, holder: &Bytes) -> bool {
        !holder.is_empty() && holder != self.instance && holder != self.breakable
    }

    /// Whether the lease of the hash's instance is alive and not to be broken.
    fn is_living(&self, store: &mut Context<'_>, instance: &Bytes) -> bool {
        let interval = sane(store.field(self.agent, b"intervalMs")) as f64;
        self.is_foreign(instance)
            && !self.takes_any()
            && left(store, self.agent) as f64 > interval - (interval / 6.0).max(100.0)
    }

    fn next_epoch(&self, store: &mut Context<'_>, hashed: u64) -> u64 {
        let epoch = sane(store.text(self.counter))
            .max(hashed)
            .max(sane(Some(self.floor.clone())))
            .max(store.now.unix_us / 1000)
            + 1;
        store.keys.set(self.counter, epoch.to_string().as_bytes());
        epoch
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
        if self.is_exclusive() {
            lend(store, self.lease, self.instance, self.exclusive);
        } else {
            store.keys.remove(self.lease);
        }
        Reply::Array(vec![Reply::text("granted"), Reply::Bulk(epoch)])
    }
}

fn held(epoch: u64, instance: Bytes, holder: Bytes, left: i64) -> Reply {
    Reply::Array(vec![
        Reply::text("held"),
        Reply::text(epoch.to_string()),
        Reply::Bulk(instance),
        Reply::Bulk(holder),
        Reply::text(left.to_string()),
    ])
}

/// Milliseconds until a key expires, as `PTTL` has them.
fn left(store: &mut Context<'_>, key: &Bytes) -> i64 {
    let Reply::Number(left) = store.run(&[Bytes::from_static(b"PTTL"), key.clone()]) else {
        return -2;
    };
    left
}

fn lend(store: &mut Context<'_>, lease: &Bytes, instance: &Bytes, ttl: &Bytes) {
    store.keys.set(lease, instance);
    store.run(&[Bytes::from_static(b"PEXPIRE"), lease.clone(), ttl.clone()]);
}

fn renew(
    store: &mut Context<'_>,
    [lease, agent, counter]: [&Bytes; 3],
    epoch: &Bytes,
    instance: &Bytes,
    ttl: &Bytes,
) -> Reply {
    if !matches!(store.keys.get(agent), None | Some(Value::Hash(_))) {
        return super::commands::wrong_type();
    }
    if store.text(lease).is_some_and(|leased| leased != *instance) {
        return Reply::Number(0);
    }
    if sane(Some(ttl.clone())) == 0 {
        store.keys.remove(lease);
        if store.field(agent, b"instance").as_ref() == Some(instance) {
            let given_up = ["HSET", "", "instance", ""];
            let mut given_up = given_up.map(|word| Bytes::from_static(word.as_bytes()));
            given_up[1] = agent.clone();
            store.run(&given_up);
        }
        return Reply::Number(1);
    }
    let held = sane(store.text(counter)).max(sane(store.field(agent, b"epoch")));
    if held > sane(Some(epoch.clone())) {
        return Reply::Number(0);
    }
    lend(store, lease, instance, ttl);
    Reply::Number(1)
}

fn lead(
    store: &mut Context<'_>,
    [leader, counter]: [&Bytes; 2],
    instance: &Bytes,
    ttl: &Bytes,
    breakable: &Bytes,
) -> Reply {
    if !matches!(store.keys.get(leader), None | Some(Value::Text(_))) {
        return super::commands::wrong_type();
    }
    let standing = |word, value: &[u8]| {
        let value = Reply::Bulk(Bytes::copy_from_slice(value));
        Reply::Array(vec![Reply::text(word), value])
    };
    let held = store.text(leader).unwrap_or_default();
    let holder = std::str::from_utf8(&held).ok().and_then(Leader::decode);
    let holder = holder.filter(|holder| holder.instance.as_bytes() != &breakable[..]);
    let is_own = |holder: &&Leader| holder.instance.as_bytes() == &instance[..];
    let own = holder.as_ref().filter(is_own);
    let lasts = [Bytes::from_static(b"PEXPIRE"), leader.clone(), ttl.clone()];
    if sane(Some(ttl.clone())) == 0 {
        if own.is_some() {
            store.keys.remove(leader);
        }
        return standing("free", b"");
    }
    if holder.is_some() && own.is_none() {
        let left = u64::try_from(left(store, leader));
        if left.is_ok_and(|left| left <= sane(Some(ttl.clone()))) {
            return standing("follows", &held);
        }
        store.run(&lasts);
        return standing("follows", &held);
    }
    let fence = sane(store.text(counter));
    if own.is_some_and(|own| own.fence >= fence) {
        store.run(&lasts);
        return standing("leads", &held);
    }
    let since = store.now.unix_us / 1000;
    let fence = fence.max(since) + 1;
    store.keys.set(counter, fence.to_string().as_bytes());
    let instance = String::from_utf8_lossy(instance).into_owned();
    let value = Leader {
        instance,
        since,
        fence,
    };
    let value = Bytes::from(value.encode());
    lend(store, leader, &value, ttl);
    standing("leads", &value)
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
            store.keys.set(self.counter, self.epoch);
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
