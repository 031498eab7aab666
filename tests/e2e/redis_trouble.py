# SPDX-License-Identifier: Apache-2.0
"""What Redis does that is not its death, under load: clients paused, full, read-only, loading, a replica that stands still. /readyz
says it in a sentence, lines wait, and each is there once afterwards."""
import glob
import json
import os
import signal
import threading
import time

os.environ["SANDLOG_TEST_STORE"] = "redis"
from harness import Source, Sse, check, main, until  # noqa: E402  (reads the variable)
from redis_brokers import Many  # noqa: E402


class Load:
    """Two sandboxes are written to at some thousand lines a second and followed at every gateway, until the end."""

    def __init__(self, s):
        self.s, self.stop = s, threading.Event()
        self.sources = [Source(s, name) for name in ("one", "two")]
        for x in self.sources:
            x.write(1)
            s.has(x.sandbox, 1)
        self.followers = [(x, Sse(port, s.url(x.sandbox, follow=1, data="json"))) for x in self.sources for port in s.ports]
        self.thread = threading.Thread(target=self.write, daemon=True)

    def write(self):
        while not self.stop.is_set():
            for x in self.sources:
                x.write(20)
            time.sleep(0.02)

    def __enter__(self):
        self.thread.start()
        return self

    def flows(self, sandbox="one"):
        """Lines written from now on are read."""
        source = next(x for x in self.sources if x.sandbox == sandbox)
        now = len(source.written)
        until(lambda: (self.s.info(sandbox) or {}).get("lines", 0) > now, 40, "lines flow again\n" + self.s.errors())

    def __exit__(self, kind, value, trace):
        self.stop.set()
        self.thread.join()
        if kind:
            return
        for x in self.sources:
            self.s.has(x.sandbox, len(x.written), 60)
            self.s.put(x.sandbox, state="stopped")
        for x, f in self.followers:
            f.wait_end(60)
            check([x], [json.loads(data) for _, _, data in f.logs()], "followed over SSE")
        for x in self.sources:
            check([x], self.s.lines(x.sandbox), "read afterwards")
        print(f"   {sum(len(x.written) for x in self.sources)} lines, {sum(f.connects for _, f in self.followers)} connections of "
              f"{len(self.followers)}")


def reasons(s):
    """What /readyz of each broker says; "" when it is ready."""
    out = []
    for port in s.ops:
        status, _, body = s.request("GET", "/readyz", port=port)
        out.append("" if status == 200 else body.decode())
    return out


def says(s, part):
    heard = []

    def said():
        heard.append(reasons(s))
        return all(any(part in r[i] for r in heard) for i in range(s.count))
    try:
        until(said, 20)
    except AssertionError:
        raise AssertionError(f"/readyz does not say \"{part}\" but {sorted({r for both in heard for r in both})}")


def is_well(s):
    until(lambda: not any(reasons(s)), 30, "all brokers are ready again")


def clients_that_redis_pauses_lose_and_double_nothing():
    with Many(2) as s, Load(s) as load:
        for what in ("WRITE", "ALL"):
            load.flows()
            assert s.redis.command(f"CLIENT PAUSE 2500 {what}") == b"+OK"
            until(lambda: any(reasons(s)), 10, f"{what}: /readyz says that something is wrong")
            is_well(s)
            load.flows()


def a_redis_that_refuses_writes_is_told_and_waited_for():
    with Many(2) as s, Load(s) as load:
        for on, off, part in (("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "is full (maxmemory)"),
                              ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "read-only replica"),
                              ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0", "min-replicas-to-write")):
            load.flows()
            assert s.redis.command(on) == b"+OK"
            says(s, part)
            assert s.redis.command(off) == b"+OK"
            is_well(s)
        load.flows()


def a_redis_that_is_loading_is_told_and_waited_for():
    """What kept the broker from Redis changed from one sentence to the next, and /readyz went on saying the first one."""
    with Many(2) as s, Load(s) as load:
        load.flows()
        assert s.redis.command("EVAL \"for i = 1, 20000 do redis.call('SET', 'pad' .. i, i) end\" 0") == b"$-1"
        assert s.redis.command("BGREWRITEAOF").startswith(b"+Background")
        until(lambda: any(os.path.getsize(f) > 100000 for f in glob.glob(s.redis.dir + "/appendonlydir/*.base.rdb")), 20, "a file of all keys")
        s.redis.kill()
        # Slow on purpose; it answers meanwhile that it is loading.
        kept = s.redis.options
        s.redis.options = kept + ["--key-load-delay", "300", "--loading-process-events-interval-bytes", "1024"]
        s.redis.spawn()
        until(lambda: any("still loading its data" in r for r in reasons(s)), 20, "/readyz says that it is loading")
        s.redis.kill()
        s.redis.options = kept
        s.redis.start()
        is_well(s)
        load.flows()


def a_replica_that_stands_still_holds_acknowledgements_back():
    """`replicas=1`: what no replica has is not acknowledged, so it is sent again, and found to be there already."""
    with Many(2, replica=True, more="?replicas=1&wait_ms=300") as s, Load(s) as load:
        load.flows()
        s.replica.process.send_signal(signal.SIGSTOP)
        until(lambda: any("replica" in r for r in reasons(s)), 30, "/readyz says that too few replicas have it")
        s.replica.process.send_signal(signal.SIGCONT)
        is_well(s)
        load.flows()


if __name__ == "__main__":
    main([clients_that_redis_pauses_lose_and_double_nothing, a_redis_that_refuses_writes_is_told_and_waited_for,
          a_redis_that_is_loading_is_told_and_waited_for, a_replica_that_stands_still_holds_acknowledgements_back])
