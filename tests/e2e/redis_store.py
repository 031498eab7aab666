# SPDX-License-Identifier: Apache-2.0
"""The log in Redis: Redis killed, paused, emptied under load, two brokers on one Redis. Nothing lost, nothing doubled, and readers
are told what they can't know."""
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time

os.environ["SANDLOG_TEST_STORE"] = "redis"
from harness import BIN, Source, Sse, System, check, free_port, main, until  # noqa: E402  (reads the variable)


def under_load(system, name, seconds, disturb):
    """Writes 5,000 lines/s for a while, `disturb`s meanwhile; then all is written and followed exactly once."""
    source = Source(system, name)
    source.write(1)
    system.has(name, 1)
    sse = Sse(system.port, system.url(name, follow=1, data="json"))
    stop = threading.Event()

    def write():
        end = time.monotonic() + seconds
        while time.monotonic() < end and not stop.is_set():
            source.write(50)
            time.sleep(0.01)
    w = threading.Thread(target=write)
    w.start()
    try:
        disturb()
    finally:
        w.join()
    system.has(name, len(source.written), 60)
    system.put(name, state="stopped")
    sse.wait_end(60)
    check([source], [json.loads(data) for _, _, data in sse.logs()], "followed over SSE")
    check([source], system.lines(name), "read afterwards")
    print(f"   {len(source.written)} lines, {sse.connects} connections")


def redis_killed_under_load_loses_and_doubles_nothing():
    with System() as s:
        def disturb():
            for _ in range(3):
                time.sleep(1)
                s.redis.kill()
                s.redis.start()
        under_load(s, "killed", 5, disturb)


def redis_paused_under_load_loses_and_doubles_nothing():
    with System() as s:
        def disturb():
            time.sleep(1)
            s.redis.process.send_signal(signal.SIGSTOP)
            until(lambda: not s.probe(s.broker_port), 20, "/readyz says that Redis does not answer")
            s.redis.process.send_signal(signal.SIGCONT)
            until(lambda: s.probe(s.broker_port), 20, "ready again")
        under_load(s, "paused", 6, disturb)


def a_redis_that_was_emptied_is_a_new_store_filled_from_the_files():
    with System() as s:
        source = Source(s, "emptied")
        source.write(5000)
        s.has("emptied", 5000)
        cursor = s.lines("emptied", tail=1)[0]["cursor"]
        assert s.get(s.url("emptied", after=cursor))[0] == 200
        assert s.redis.command("FLUSHALL") == b"+OK"
        source.write(1)
        until(lambda: s.get(s.url("emptied"))[0] == 200 and len(s.lines("emptied")) == len(source.written), 30,
              "read again from the file")
        check([source], s.lines("emptied"), "afterwards")
        assert s.get(s.url("emptied", after=cursor))[0] == 410, "a cursor of the old store"


def a_redis_that_is_away_is_not_one_that_knows_nothing():
    """Else a copy, whose original is known, is read from its beginning."""
    with System() as s:
        source = Source(s, "copied")
        source.write(100)
        s.has("copied", 100)
        s.kill("collector")
        source.write(50)
        shutil.copyfile(source.path, source.path + ".1")
        os.truncate(source.path, 0)
        source.write(30)
        s.redis.kill()
        until(lambda: not s.probe(s.broker_port), 20, "/readyz says that Redis does not answer")
        s.start("collector")

        def refused():
            _, _, body = s.request("GET", "/metrics", port=s.broker_port)
            return int(re.search(rb"\nsandlog_broker_refused_requests_total (\d+)\n", body)[1])
        until(lambda: refused() > 5, 30, "the collector is told to ask again")
        s.redis.start()
        source.write(20)
        source.exit()
        until(lambda: (s.info("copied") or {}).get("state") == "stopped", 30, "all is read")
        check([source], s.lines("copied"), "read afterwards")


def two_brokers_serve_the_same_sandboxes():
    with System() as s:
        ipc = lambda link: f"ipc://{s.dir}/{link}2.sock"
        port, ops = free_port(), free_port()
        err = open(f"{s.dir}/second.err", "ab")
        second = [
            subprocess.Popen([os.path.join(BIN, "sandlog-broker"), "--store", s.redis.url, "--ingest", ipc("ingest"), "--query", ipc("query"),
                              "--http", f"127.0.0.1:{ops}"], stderr=err),
            subprocess.Popen([os.path.join(BIN, "sandlog-gateway"), "--listen", f"127.0.0.1:{port}", "--broker", ipc("query")], stderr=err),
        ]
        err.close()
        try:
            until(lambda: s.probe(port), 20, "the second gateway is ready")
            source = Source(s, "shared")
            source.write(1)
            s.has("shared", 1)
            sse = Sse(port, s.url("shared", follow=1, data="json"))
            for _ in range(100):
                source.write(20)
                time.sleep(0.01)
            s.has("shared", len(source.written))
            sse.wait(len(source.written))
            check([source], [json.loads(data) for _, _, data in sse.logs()], "followed at the other broker")
            sse.close()
        finally:
            for p in second:
                p.kill()
                p.wait()


if __name__ == "__main__":
    main([redis_killed_under_load_loses_and_doubles_nothing, redis_paused_under_load_loses_and_doubles_nothing,
          a_redis_that_was_emptied_is_a_new_store_filled_from_the_files, a_redis_that_is_away_is_not_one_that_knows_nothing, two_brokers_serve_the_same_sandboxes])
