//! The embedded store through its monitor: what a kill, a full disk, a damaged file and a second monitor leave of a fleet.
//!
//! Each story is a script in a network of its own, where no Redis is.

mod support;

use support::fleet::in_a_network_of_its_own;

/// What all stories use. `until_` waits a minute at most; `fail` prints the monitor's log.
const WORDS: &str = r#"
set -u
ip link set lo up
fail() { echo "FAILED: $*"; tail -n 30 log; kill $(jobs -p); wait; exit 1; }
first() { redis-cli get "$1" | cut -c1; }
until_() { for n in $(seq 1000); do eval "$1" && return; sleep 0.05; done; fail "$1"; }
get() { curl -s --max-time 5 "http://127.0.0.1:7410$1"; }
monitor() { hbmonitor --listen 127.0.0.1:7410 --state-dir "${STATE:-state}" "$@" >>log 2>&1 & MONITOR=$!; until_ 'get /-/ready | grep -q ok'; }
kill_monitor() { kill -9 $MONITOR; wait $MONITOR 2>/dev/null; }
shows() { until_ "get /health/agents/$1 | grep -q '\"state\":\"$2\"'"; }
logged() { until_ "grep -q '$1' log"; }
"#;

fn story(script: &str) {
    let (code, printed) =
        in_a_network_of_its_own(&format!("{WORDS}\n{script}\nkill $(jobs -p); wait"));
    assert_eq!(code, Some(0), "{printed}");
}

#[test]
fn a_monitor_that_is_killed_loses_at_most_the_last_second() {
    story(
        r#"
monitor
hbsidecar -q --id dead --restart never -- sh -c 'exit 3'
hbsidecar -q --id clean --restart never -- true
shows dead failed; shows clean stopped
EPOCH=$(redis-cli get 'hb:epoch:{agent:dead}'); EVENTS=$(redis-cli xlen hb:events)
sleep 1
kill_monitor; monitor
shows dead failed; shows clean stopped
get /health/agents/dead | grep -q '"reason":"exited"' || fail 'the reason of the failure'
[ "$(redis-cli get 'hb:epoch:{agent:dead}')" = "$EPOCH" ] || fail 'the epoch'
[ "$(redis-cli xlen hb:events)" = "$EVENTS" ] || fail 'the events'
hbsidecar -q --id dead --restart never -- true
[ "$(redis-cli get 'hb:epoch:{agent:dead}')" -gt "$EPOCH" ] || fail 'the epoch goes on'
"#,
    );
}

#[test]
fn a_monitor_that_is_stopped_loses_nothing() {
    story(
        r#"
monitor
redis-cli hset hb:silences s1 x >/dev/null
kill $MONITOR; wait $MONITOR; monitor
[ "$(redis-cli hget hb:silences s1)" = x ] || fail 'the last write before the end'
"#,
    );
}

#[test]
fn a_monitor_that_starts_again_still_has_the_story_of_each_agent() {
    story(
        r#"
monitor
hbsidecar -q --id w1 --interval 1s --restart never -- sh -c 'sleep 1; exit 7'
until_ 'get /v1/agents/w1/timeline | grep -q "incident opened"'
kill $MONITOR; wait $MONITOR; monitor
shows w1 failed
[ "$(get /v1/agents/w1/timeline | grep -o 'incident opened' | wc -l)" = 1 ] || fail 'the story is lost, or written twice'
left=$(redis-cli pttl 'hb:timeline:{agent:w1}')
[ "$left" -gt 2500000000 ] || fail "the story ends in $left ms"
"#,
    );
}

#[test]
fn a_damaged_file_is_named_and_the_fleet_starts() {
    story(
        r#"
mkdir state; head -c 100000 /dev/urandom >state/store.redb
monitor
logged 'store.redb is damaged .* renamed to state/store.redb.damaged-'
ls state/store.redb.damaged-* >/dev/null || fail 'the file under its new name'
hbsidecar -q --id a -- sleep 60 & shows a healthy
kill %2; wait %2; shows a stopped
sleep 1; kill_monitor; monitor; shows a stopped
"#,
    );
}

#[test]
fn a_second_monitor_on_one_directory_says_so_and_the_first_keeps_its_data() {
    story(
        r#"
monitor
redis-cli set kept 1 >/dev/null
unshare -n bash -c 'ip link set lo up; exec hbmonitor --listen 127.0.0.1:7410 --state-dir state' >second 2>&1 & SECOND=$!
until_ 'grep -q "another hbmonitor keeps its store in state/store.redb" second'
until_ 'grep -q "in memory only" second'
kill $SECOND; wait $SECOND
sleep 1; kill_monitor; monitor
[ "$(redis-cli get kept)" = 1 ] || fail 'the data of the first'
"#,
    );
}

#[test]
fn a_full_disk_is_logged_once_and_written_when_there_is_space() {
    story(
        r#"
mkdir state; mount -t tmpfs -o size=6m tmpfs state
monitor
redis-cli set before 1 >/dev/null; sleep 0.5
head -c 100m /dev/zero >state/ballast 2>/dev/null
for n in $(seq 300); do echo "set key$n $(head -c 9000 /dev/zero | tr '\0' x)"; done | redis-cli >/dev/null
logged 'cannot write state/store.redb: .* goes on in memory'
redis-cli set during 1 | grep -q OK || fail 'the store goes on'
hbsidecar -q --id a -- sleep 60 & shows a healthy
[ "$(grep -c 'cannot write' log)" = 1 ] || fail 'logged once'
rm state/ballast
logged 'writes state/store.redb again'
sleep 1; kill_monitor; monitor
[ "$(first before)$(first during)$(first key300)" = 11x ] || fail 'what came meanwhile'
"#,
    );
}

#[test]
fn a_full_disk_at_the_start_hides_nothing_that_was_kept() {
    story(
        r#"
mkdir state; mount -t tmpfs -o size=6m tmpfs state
monitor
redis-cli set kept 1 >/dev/null
sleep 1; kill_monitor
head -c 100m /dev/zero >state/ballast 2>/dev/null
monitor
[ "$(redis-cli get kept)" = 1 ] || fail 'what was kept'
redis-cli set later "$(head -c 100000 /dev/zero | tr '\0' y)" >/dev/null
logged 'cannot write state/store.redb: .* goes on in memory'
rm state/ballast
logged 'writes state/store.redb again'
sleep 1; kill_monitor; monitor
[ "$(first kept)$(first later)" = 1y ] || fail 'what came later'
"#,
    );
}

#[test]
fn a_directory_that_cannot_be_written_is_read_and_the_fleet_starts() {
    story(
        r#"
monitor
redis-cli set kept 1 >/dev/null
sleep 1; kill $MONITOR; wait $MONITOR
mount --bind state state && mount -o remount,bind,ro state
monitor
logged 'cannot write state/store.redb'
[ "$(redis-cli get kept)" = 1 ] || fail 'what was kept'
kill $MONITOR; wait $MONITOR
mkdir empty; mount --bind empty empty && mount -o remount,bind,ro empty
STATE=empty/below monitor
logged 'cannot make the directory empty/below'
hbsidecar -q --id a -- sleep 60 & shows a healthy
"#,
    );
}
