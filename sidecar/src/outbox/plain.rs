//! Registration and roster entry by single commands, where the store refuses the script: on a replica, in a full store, for a user that may
//! not run scripts. What the store takes of them counts. The grant is not atomic: of two sidecars that register in the same
//! moment both may go on, until the store takes a script again and fences the one with the lower epoch.

use super::StoreSession;
use hbshell::store::Link;
use heartbeat::base::moment::millis;
use heartbeat::base::number::COUNT_MAX;
use heartbeat::wire::hash;
use heartbeat::wire::keys;
use heartbeat::wire::lease::{Grant, Holder, Lease};
use heartbeat::wire::roster::RosterEntry;
use redis::{FromRedisValue, RedisResult, Value};
use std::time::Duration;

/// What the store holds of the id, as far as it shows it.
#[derive(Default)]
struct Held {
    epoch: u64,
    interval_ms: u64,
    instance: String,
    holder: String,
    left_ms: u64,
    /// The highest epoch that was ever granted.
    counter: u64,
    /// Who has an exclusive lease, and how long.
    leased: String,
    leased_ms: u64,
    clock_ms: u64,
}

impl StoreSession {
    /// Grants the id as the script would, unless a living holder has it.
    pub(super) async fn grant_plainly(
        &self,
        connection: &mut Link,
        breakable: &str,
    ) -> anyhow::Result<Grant> {
        let held = self.held(connection).await?;
        if let Some(lease) = held.lease(&self.registration.instance, breakable) {
            return Ok(Grant::Held(lease));
        }
        let own = self.fenced.unwrap_or(self.epoch);
        let highest = [held.counter, held.epoch, own, held.clock_ms];
        let epoch = highest.into_iter().max().unwrap_or(0) + 1;
        self.register_plainly(connection, epoch).await?;
        Ok(Grant::Granted(epoch))
    }

    /// Writes the roster entry unless a later registration has one; true when that is done.
    pub(super) async fn write_roster_plainly(
        &self,
        connection: &mut Link,
        entry: &RosterEntry,
    ) -> anyhow::Result<bool> {
        let id = self.registration.id.as_str();
        let mut question = redis::pipe();
        question.cmd("HGET").arg(keys::ROSTER).arg(id);
        question.ignore_errors();
        let answers: Vec<RedisResult<Value>> = question.query_async(connection).await?;
        let known = taken::<String>(answers.into_iter().next());
        let known = known.and_then(|text| RosterEntry::decode(&text).ok());
        if known.is_some_and(|known| known.epoch > entry.epoch && known.epoch <= COUNT_MAX) {
            return Ok(true);
        }
        let mut command = redis::pipe();
        command.cmd("HSET").arg(keys::ROSTER).arg(id);
        command.arg(entry.encode()).ignore_errors();
        let answers: Vec<RedisResult<Value>> = command.query_async(connection).await?;
        Ok(answers.iter().all(RedisResult::is_ok))
    }

    async fn held(&self, connection: &mut Link) -> anyhow::Result<Held> {
        let id = &self.registration.id;
        let (hash, lease) = (keys::agent(id), keys::lease(id));
        let mut questions = redis::pipe();
        for field in ["epoch", "intervalMs", "instance", "holder"] {
            questions.cmd("HGET").arg(&hash).arg(field);
        }
        questions.cmd("PTTL").arg(&hash);
        questions.cmd("GET").arg(keys::epoch(id));
        questions.cmd("GET").arg(&lease).cmd("PTTL").arg(&lease);
        questions.cmd("TIME").ignore_errors();
        let answers: Vec<RedisResult<Value>> = questions.query_async(connection).await?;
        let mut answers = answers.into_iter();
        let mut text = || taken::<String>(answers.next()).unwrap_or_default();
        let mut held = Held {
            epoch: count(&text()),
            interval_ms: count(&text()),
            instance: text(),
            holder: text(),
            left_ms: count(&text()),
            counter: count(&text()),
            leased: text(),
            leased_ms: count(&text()),
            clock_ms: crate::clock::wall_ms(),
        };
        if let Some((seconds, micros)) = taken::<(u64, u64)>(answers.next()) {
            held.clock_ms = seconds.saturating_mul(1000).saturating_add(micros / 1000);
        }
        Ok(held)
    }

    /// Writes what the store takes: nothing depends on it, since the first beat does the same.
    async fn register_plainly(&self, connection: &mut Link, epoch: u64) -> anyhow::Result<()> {
        let about = &self.registration;
        let key = keys::agent(&about.id);
        let interval = Duration::from_millis(about.entry.interval_ms);
        let mut commands = redis::pipe();
        commands.cmd("SET").arg(keys::epoch(&about.id)).arg(epoch);
        commands.cmd("HDEL").arg(&key).arg(&hash::OF_A_BEAT);
        commands.cmd("HSET").arg(&key);
        commands.arg("epoch").arg(epoch);
        commands.arg("instance").arg(&about.instance);
        for (field, value) in hash::registration(&about.entry, about.registered_ms, &about.holder) {
            commands.arg(field).arg(value);
        }
        let time_to_live = millis(keys::time_to_live(interval));
        commands.cmd("PEXPIRE").arg(&key).arg(time_to_live);
        commands.ignore_errors();
        let _answers: Vec<RedisResult<Value>> = commands.query_async(connection).await?;
        Ok(())
    }
}

impl Held {
    /// The lease of a living holder other than `instance`, unless it may be broken.
    fn lease(&self, instance: &str, breakable: &str) -> Option<Lease> {
        let foreign =
            |holder: &str| !holder.is_empty() && holder != instance && holder != breakable;
        let lease = |of: &str, exclusive_for| Lease {
            epoch: self.epoch,
            instance: of.to_owned(),
            holder: Holder::decode(&self.holder).filter(|_| of == self.instance),
            exclusive_for,
        };
        // Only a script takes the place of an exclusive holder: it fences it.
        if foreign(&self.leased) {
            let left = Duration::from_millis(self.leased_ms);
            return Some(lease(&self.leased, Some(left)));
        }
        let slack = (self.interval_ms / 6).max(100);
        let lives = self.left_ms > self.interval_ms.saturating_sub(slack);
        let held = lives && breakable != "*" && foreign(&self.instance);
        held.then(|| lease(&self.instance, None))
    }
}

fn taken<T: FromRedisValue>(answer: Option<RedisResult<Value>>) -> Option<T> {
    redis::from_redis_value(answer?.ok()?).ok()
}

/// A number that may be an epoch, a time or nothing.
fn count(text: &str) -> u64 {
    let number = text.parse().ok().filter(|number| *number < COUNT_MAX);
    number.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(left_ms: u64) -> Held {
        Held {
            epoch: 7,
            interval_ms: 1000,
            instance: "other".to_owned(),
            left_ms,
            ..Held::default()
        }
    }

    #[test]
    fn a_holder_whose_hash_is_young_has_the_id() {
        let lease = |held: &Held, breakable| held.lease("me", breakable).map(|l| l.instance);
        let alive = held(1500);
        assert_eq!(lease(&alive, ""), Some("other".to_owned()));
        assert_eq!((lease(&alive, "other"), lease(&alive, "*")), (None, None));
        assert_eq!(alive.lease("other", ""), None);
        assert_eq!(lease(&held(800), ""), None, "silent for three intervals");
    }

    #[test]
    fn an_exclusive_lease_is_broken_by_no_single_command() {
        let exclusive = Held {
            leased: "other".to_owned(),
            leased_ms: 9000,
            ..held(0)
        };
        let lease = exclusive.lease("me", "*").unwrap();
        assert_eq!(lease.exclusive_for, Some(Duration::from_secs(9)));
    }
}
