"""What hb asks of a store, asked by redis-py."""

import pathlib
import sys

import redis

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "src" / "wire" / "scripts"

for protocol in (2, 3):
    r = redis.Redis.from_url(sys.argv[1], protocol=protocol, decode_responses=True)
    r.flushall()

    r.hset("agent:a1", mapping={"status": "healthy", "sequence": 1})
    assert r.hgetall("agent:a1") == {"status": "healthy", "sequence": "1"}
    assert r.set("k", "v", nx=True, px=5000) is True
    assert r.set("k", "v", nx=True) is None
    assert 0 < r.pttl("k") <= 5000
    assert r.incr("n") == 1
    assert list(r.scan_iter("agent:*")) == ["agent:a1"]
    with r.pipeline(transaction=False) as pipe:
        assert pipe.get("k").ttl("none").execute() == ["v", -2]

    pubsub = r.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe("heartbeats")
    pubsub.psubscribe("hb:control:*")
    while not pubsub.subscribed:
        pass
    pubsub.get_message(timeout=5)
    pubsub.get_message(timeout=5)
    register = r.register_script((SCRIPTS / "register.lua").read_text())
    word, epoch = register(keys=["hb:epoch:{agent:a1}", "agent:a1", "hb:lease:{agent:a1}"], args=[0, "i", 4000, "", 0, "status", "starting"])
    assert word == "granted", word
    epoch = int(epoch)
    beat = r.register_script((SCRIPTS / "beat.lua").read_text())
    keys = ["agent:a1", "hb:epoch:{agent:a1}", "hb:control:{agent:a1}"]
    answer = beat(keys=keys, args=[epoch, 4000, "heartbeats", "the beat", "epoch", epoch])
    assert answer == ["ok", ""], answer
    answer = beat(keys=keys, args=[epoch - 1, 4000, "heartbeats", "late", "epoch", epoch - 1])
    assert answer == ["fenced", str(epoch)], answer
    message = pubsub.get_message(timeout=5)
    assert message["data"] == "the beat", message
    pubsub.close()

    r.xadd("hb:events", {"event": "exited"}, maxlen=10000, approximate=True)
    read = r.xread({"hb:events": "0"}, block=5000)
    assert "exited" in str(read), read
    assert r.xrange("hb:events")[0][1] == {"event": "exited"}
    r.close()
    print(f"ok RESP{protocol}")
