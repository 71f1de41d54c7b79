//! Troubles of hbmonitor itself: a receiver that takes nothing, a store that is away, a disk that takes nothing.

use super::support::receivers::{Receivers, Taken};
use super::support::{Redis, eventually, get_text};
use super::{Place, ROUTING_KEY, command, fails, falls_silent, in_a_minute, monitor};
use serde_json::Value;
use std::collections::HashMap;
use std::path::PathBuf;

/// Two receivers, of which the first is down from the start.
fn one_is_down(server: &Receivers, place: &Place) -> PathBuf {
    let text = format!(
        "[[receiver]]\nname = \"down\"\nkind = \"webhook\"\nurl = \"{}\"\nprivate = true\n\
         [[receiver]]\nname = \"up_there\"\nkind = \"webhook\"\nurl = \"{}\"\nprivate = true\n",
        server.url("/nothing/here"),
        server.url("/hook")
    );
    place.config(&text)
}

/// What the other one got about hbmonitor itself: the type and the first words of each.
fn about_hb(server: &Receivers) -> Vec<(String, String)> {
    let mut good = server.good("/hook");
    good.retain(|taken| taken.body["data"]["agentsTotal"] == 0);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let shown = good.iter().map(|taken| {
        let message = text(&taken.body["data"]["message"]);
        (text(&taken.body["type"]), message)
    });
    shown.collect()
}

#[test]
fn a_receiver_that_takes_nothing_is_one_message_to_the_others_also_across_a_restart() {
    let (redis, server, place) = (Redis::start(), Receivers::start(|_, _| true), Place::new());
    let config = one_is_down(&server, &place);
    let first = monitor(&redis, &config, &place);
    fails(&redis, "a1").wait();
    let fired = in_a_minute("the others know", || about_hb(&server).into_iter().next());
    assert_eq!(fired.0, "alert.fired");
    assert!(
        fired.1.contains("receiver down takes no notifications"),
        "{fired:?}"
    );
    in_a_minute("it is kept", || {
        let kept: HashMap<String, String> = redis.run(&["HGETALL", "hb:troubles"]);
        let known = kept.get("receiver-down")?;
        known.contains(r#""outcome":"paged""#).then_some(())
    });
    drop(first);
    let second = monitor(&redis, &config, &place);
    falls_silent(&redis, "a2");
    in_a_minute("the page of the other agent", || {
        let of_a2 = |taken: &Taken| taken.body["data"]["agents"][0] == "a2";
        server.good("/hook").into_iter().find(of_a2)
    });
    assert_eq!(about_hb(&server).len(), 1, "it is known");
    let only_one = format!(
        "[[receiver]]\nname = \"up_there\"\nkind = \"webhook\"\nurl = \"{}\"\nprivate = true\n",
        server.url("/hook")
    );
    place.config(&only_one);
    second.process.signal("HUP");
    let ended = in_a_minute("its end", || about_hb(&server).into_iter().nth(1));
    assert_eq!(ended.0, "alert.resolved");
    eventually("it is kept no longer", || {
        let kept: HashMap<String, String> = redis.run(&["HGETALL", "hb:troubles"]);
        kept.is_empty().then_some(())
    });
}

#[test]
fn a_store_that_is_away_is_a_page_with_the_time_and_its_return_the_end() {
    let (mut redis, server, place) = (Redis::start(), Receivers::start(|_, _| true), Place::new());
    let text = format!(
        "[[receiver]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"{}\"\nprivate = true\n",
        server.url("/hook")
    );
    let monitor = monitor(&redis, &place.config(&text), &place);
    eventually("the monitor is ready", || {
        (monitor.get("/readyz")?.0 == 200).then_some(())
    });
    redis.down();
    let fired = in_a_minute("the page", || about_hb(&server).into_iter().next());
    assert!(
        fired
            .1
            .contains("hb: blind, the store has not answered for "),
        "{fired:?}"
    );
    redis.up();
    let ended = in_a_minute("its end", || about_hb(&server).into_iter().nth(1));
    assert_eq!(ended.0, "alert.resolved");
}

/// Redis saves into a file of this name: a directory in its place fails each save, as a full disk does.
#[test]
fn a_disk_that_takes_nothing_is_a_page_that_a_person_acknowledges_and_that_ends_with_it() {
    let (redis, server, place) = (Redis::start(), Receivers::start(|_, _| true), Place::new());
    place.file("routing", ROUTING_KEY);
    let text = format!(
        "[[receiver]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"{}\"\nprivate = true\n\
         [[receiver]]\nname = \"oncall\"\nkind = \"pagerduty\"\nurl = \"{}\"\nrouting_key_file = \"{}\"\nprivate = true\n",
        server.url("/hook"),
        server.url(""),
        place.path("routing")
    );
    let monitor = monitor(&redis, &place.config(&text), &place);
    let saved = |state: &str| {
        let _: redis::RedisResult<()> =
            redis::cmd("BGSAVE").exec(&mut redis.client().get_connection().unwrap());
        eventually("the save has ended", || {
            let info: String = redis.run(&["INFO", "persistence"]);
            info.contains(&format!("rdb_last_bgsave_status:{state}"))
                .then_some(())
        });
    };
    let in_the_way = redis.place().join("dump.rdb");
    std::fs::create_dir(&in_the_way).unwrap();
    saved("err");
    let fired = in_a_minute("the page", || about_hb(&server).into_iter().next());
    assert!(
        fired.1.contains("hb: the store cannot write to its disk"),
        "{fired:?}"
    );
    let trouble = |name: &str| {
        let (_, status) = monitor.get("/v1/status")?;
        let all = status["troubles"].as_array()?.clone();
        all.into_iter().find(|one| one["name"] == name)
    };
    let shown = eventually("it is shown", || trouble("disk"));
    assert!(
        shown["sentence"]
            .as_str()
            .unwrap()
            .contains("full or not writable")
    );
    let page_shows = |words: &str| {
        eventually(&format!("the page shows {words:?}"), || {
            let (_, page) = get_text(&monitor.address, "/status")?;
            page.contains(words).then_some(())
        });
    };
    page_shows("Trouble of hb itself");
    page_shows("full or not writable");
    let url = format!("http://{}", monitor.address);
    let (done, printed) = command(&["ack", "--trouble", "configuration", "--url", &url]);
    assert!(!done && printed.contains("Trouble not found"), "{printed}");
    let (done, printed) = command(&["ack", "--trouble", "disk", "--url", &url]);
    assert!(
        done && printed.starts_with("hb's own trouble disk is acknowledged"),
        "{printed}"
    );
    server.wait("/v2/enqueue", "the acknowledgement", |taken| {
        taken.body["event_action"] == "acknowledge"
    });
    eventually("who cares for it is kept", || {
        let kept: HashMap<String, String> = redis.run(&["HGETALL", "hb:troubles"]);
        kept.get("disk")?.contains(r#""ackedBy":"#).then_some(())
    });
    page_shows("Acknowledged by");
    std::fs::remove_dir(&in_the_way).unwrap();
    saved("ok");
    server.wait("/v2/enqueue", "its end", |taken| {
        taken.body["event_action"] == "resolve"
    });
    eventually("it is over", || trouble("disk").is_none().then_some(()));
    let audit = eventually("the audit has it", || {
        let audit: Vec<(String, HashMap<String, String>)> =
            redis.run(&["XRANGE", "hb:audit", "-", "+"]);
        (!audit.is_empty()).then_some(audit)
    });
    assert_eq!((audit.len(), &*audit[0].1["what"]), (1, "ack"));
    assert_eq!(audit[0].1["detail"], "hb's own trouble disk");
}

#[test]
fn the_dead_mans_switch_is_pinged_while_the_store_answers_and_not_while_it_is_away() {
    let mut redis = Redis::absent(&[]);
    let (server, place) = (Receivers::start(|_, _| true), Place::new());
    place.file("ping", &server.url("/hook"));
    let text = format!(
        "deadman_url_file = \"{}\"\ndeadman_private = true\n",
        place.path("ping")
    );
    let config = place.config(&text);
    let monitor = monitor(&redis, &config, &place);
    eventually("it cannot reach the store", || {
        (monitor.get("/readyz")?.0 == 503).then_some(())
    });
    assert!(server.all("/hook").is_empty(), "it sees nothing");
    redis.up();
    in_a_minute("it pings", || server.good("/hook").into_iter().next());
}
