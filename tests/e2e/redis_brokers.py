# SPDX-License-Identifier: Apache-2.0
"""Several brokers, collectors and gateways on one Redis: stops find the collector at whatever broker it is, a broker killed under load
is left for another, and lines that only idle files hold come back when Redis has lost them."""
import http.client
import json
import os
import signal
import subprocess
import threading
import time

os.environ["SANDLOG_TEST_STORE"] = "redis"
from harness import BIN, Redis, Source, Sse, System, check, free_port, main, until  # noqa: E402  (reads the variable)


class Many(System):
    """`brokers` brokers; a gateway at each of them that also knows the others. Collectors: `at` says which broker comes first.
    `url`: another Redis than its own; `more` stands behind its servers."""

    def __init__(self, brokers=2, at=0, alone=False, replica=False, url=None, more=""):
        super().__init__(start=False)
        self.url_of_store, self.replica = url or self.redis.url, None
        if replica:
            self.replica = Redis("--repl-diskless-sync-delay", "0")
            self.replica.command(f"REPLICAOF 127.0.0.1 {self.redis.port}")
            self.url_of_store += f",127.0.0.1:{self.replica.port}"
        self.url_of_store += more
        self.count, self.at, self.alone = brokers, at, alone
        self.ports = [free_port() for _ in range(brokers)]
        self.ops = [free_port() for _ in range(brokers)]
        self.port, self.broker_port = self.ports[0], self.ops[0]
        try:
            for i in range(brokers):
                self.start(f"broker{i}")
            for i in range(brokers):
                self.start(f"gateway{i}")
            self.start("collector")
            until(lambda: all(map(self.probe, self.ports + self.ops + [self.collector_port])), 20, "all daemons ready")
        except BaseException:
            self.close()
            raise

    def close(self):
        super().close()
        if self.replica:
            self.replica.close()

    def links(self, link, first):
        order = [(first + i) % self.count for i in range(1 if self.alone else self.count)]
        return [w for i in order for w in ("--broker", f"ipc://{self.dir}/{link}{i}.sock")]

    def command(self, name):
        kind, i = name.rstrip("0123456789"), int(name[-1]) if name[-1].isdigit() else 0
        return [os.path.join(BIN, "sandlog-" + kind)] + {
            "broker": ["--store", self.url_of_store, "--ingest", f"ipc://{self.dir}/ingest{i}.sock", "--query", f"ipc://{self.dir}/query{i}.sock",
                       "--http", f"127.0.0.1:{self.ops[i]}"],
            "gateway": ["--listen", f"127.0.0.1:{self.ports[i]}"] + self.links("query", i),
            "collector": self.links("ingest", self.at) + ["--http", f"127.0.0.1:{self.collector_port}"]
                         + [w for spec in self.watch for w in ("--watch", spec)],
        }[kind]


def a_stop_said_to_one_broker_is_drained_by_the_collector_of_another():
    # The collector is at the last broker, gateway and PUT are at the first; it has a backlog when it is told.
    for brokers in (2, 3):
        with Many(brokers, at=brokers - 1, alone=True) as s:
            source = Source(s, "stopped")
            source.write(10)
            s.has("stopped", 10)
            followers = [Sse(port, s.url("stopped", follow=1, data="json")) for port in s.ports]
            for f in followers:
                f.wait(10)
            s.process["collector"].send_signal(signal.SIGSTOP)
            source.write(20000)
            began = time.monotonic()
            s.put("stopped", state="stopped", exit_code=3)
            s.process["collector"].send_signal(signal.SIGCONT)
            for f in followers:
                f.wait_end(5)
            print(f"   {brokers} brokers: end after {time.monotonic() - began:.2f} s")
            for f in followers:
                assert f.ended["reason"] == "stopped" and f.ended["exit_code"] == 3, f.ended
                check([source], [json.loads(data) for _, _, data in f.logs()], "followed to the end")


def without_a_collector_a_stop_ends_after_five_seconds_at_every_broker():
    with Many(2) as s:
        source = Source(s, "alone")
        source.write(10)
        s.has("alone", 10)
        followers = [Sse(port, s.url("alone", follow=1, data="json")) for port in s.ports]
        for f in followers:
            f.wait(10)
        s.kill("collector")
        began = time.monotonic()
        s.put("alone", state="stopped")
        for f in followers:
            f.wait_end(20)
        took = time.monotonic() - began
        assert took >= 4, f"ended after {took:.1f} s, though a collector might have come back"


def brokers_killed_under_load_are_left_for_others():
    with Many(3) as s:
        sources = [Source(s, f"load{i}") for i in range(4)]
        for source in sources:
            source.write(1)
            s.has(source.sandbox, 1)
        followers = [(source, Sse(port, s.url(source.sandbox, follow=1, data="json"))) for source in sources for port in s.ports]
        stop = threading.Event()

        def write():
            while not stop.is_set():
                for source in sources:
                    source.write(20)
                time.sleep(0.01)
        w = threading.Thread(target=write)
        w.start()
        try:
            for i in (0, 1, 2, 0):
                before = len(sources[0].written)
                s.kill(f"broker{i}")
                until(lambda: s.info("load0") and s.info("load0")["lines"] > before, 30, "lines come by another broker")
                s.start(f"broker{i}")
                until(lambda: s.probe(s.ops[i]), 20, "the broker is back")
        finally:
            stop.set()
            w.join()
        for source in sources:
            s.has(source.sandbox, len(source.written), 60)
            s.put(source.sandbox, state="stopped")
        for source, f in followers:
            f.wait_end(60)
            check([source], [json.loads(data) for _, _, data in f.logs()], "followed over SSE")
        for source in sources:
            check([source], s.lines(source.sandbox), "read afterwards")
        print(f"   {sum(len(source.written) for source in sources)} lines, {sum(f.connects for _, f in followers)} connections of {len(followers)}")


def told_that_it_is_gone(sse):
    """By `end`, by 410, or by the stream's last word, when it came again before there was anything by that name: then it has 404."""
    return sse.ended or sse.status == 410 or any(kind == "error" and "cursor-expired" in data for kind, _, data in sse.events)


def what_only_idle_files_hold_comes_back_when_redis_was_emptied():
    with Many(2, at=1) as s:
        sources = [Source(s, f"idle{i}") for i in range(3)]
        for source in sources:
            source.write(500)
            s.has(source.sandbox, 500)
        cursor = s.lines("idle0", tail=1)[0]["cursor"]
        sse = Sse(s.ports[0], s.url("idle0", follow=1, data="json"))
        sse.wait(500)
        assert s.redis.command("FLUSHALL") == b"+OK"
        for source in sources:
            until(lambda: s.get(s.url(source.sandbox))[0] == 200 and len(s.lines(source.sandbox)) == 500, 30,
                  "read again from a file that nobody writes to")
            check([source], s.lines(source.sandbox), "afterwards")
        for port in s.ports:
            status = s.request("GET", s.url("idle0", after=cursor), port=port)[0]
            assert status == 410, f"a cursor of the old store: {status}"
        until(lambda: told_that_it_is_gone(sse), 30, lambda: f"the follower is told: {sse.status} {sse.events[-1:]}")
        check([sources[0]], [json.loads(data) for _, _, data in sse.logs()], "nothing twice on a stream of the old store")


def a_failover_that_loses_lines_is_healed_from_the_files_and_told():
    with Many(2, replica=True) as s:
        sources = [Source(s, f"fell{i}") for i in range(3)]
        for source in sources:
            source.write(100)
            s.has(source.sandbox, 100)
        # (WAIT tells nothing on a connection that wrote nothing.)
        until(lambda: all(s.replica.command(f"XLEN sandlog:{{{source.sandbox}}}:s") == s.redis.command(f"XLEN sandlog:{{{source.sandbox}}}:s")
                          for source in sources), 30, "the replica has what there is")
        assert s.replica.command("REPLICAOF NO ONE") == b"+OK"  # from here on it is cut off
        for source in sources:
            source.write(50)
            s.has(source.sandbox, 150)
        followers = [Sse(port, s.url("fell0", follow=1, data="json")) for port in s.ports]
        for f in followers:
            f.wait(150)
        cursor = s.lines("fell0", tail=1)[0]["cursor"]
        s.redis.kill()
        # fell1 and fell2 are not written to any more: their last 50 lines are in idle files only.
        sources[0].write(25)
        for source in sources:
            until(lambda: s.get(s.url(source.sandbox))[0] == 200 and len(s.lines(source.sandbox)) == len(source.written), 40,
                  f"{source.sandbox} is whole again")
            check([source], s.lines(source.sandbox), "afterwards")
        for port in s.ports:
            assert s.request("GET", s.url("fell0", after=cursor), port=port)[0] == 410, "a cursor of lines that were taken back"
        for f in followers:
            until(lambda: told_that_it_is_gone(f), 30, lambda: f"the follower is told: {f.status} {f.events[-1:]}")
            got = [json.loads(data) for _, _, data in f.logs()]
            assert [o["line"] for o in got] == [text.decode() for _, _, text in sources[0].written[:150]], "nothing twice, nothing else"


def a_password_is_seen_by_nobody():
    redis = Redis()
    try:
        redis.command("ACL SETUSER ann on >sesame ~sandlog:* &sandlog:* +@all")
        redis.command("ACL SETUSER default off")
        # Whoever the password is given by: the command line, the environment; and when it is wrong.
        for word, given, good in (("sesame", "flag", True), ("sesame", "environment", True), ("opened", "flag", False)):
            url = f"redis://ann:{word}@127.0.0.1:{redis.port}"
            port = free_port()
            command = [os.path.join(BIN, "sandlog-broker"), "--http", f"127.0.0.1:{port}", "--ingest", f"ipc://{redis.dir}/i.sock",
                       "--query", f"ipc://{redis.dir}/q.sock"] + (["--store", url] if given == "flag" else [])
            broker = subprocess.Popen(command, stderr=subprocess.PIPE, text=True,
                                      env=dict(os.environ, **({"SANDLOG_STORE": url} if given == "environment" else {})))
            try:
                if good:
                    until(lambda: System.probe(None, port), 20, "the broker is ready")
                    for file in ("cmdline", "environ"):
                        with open(f"/proc/{broker.pid}/{file}", "rb") as f:
                            assert word.encode() not in f.read(), f"{file} shows it"
                    c = http.client.HTTPConnection("127.0.0.1", port)
                    c.request("GET", "/status")
                    assert word not in c.getresponse().read().decode()
                    broker.terminate()
                said = broker.communicate(timeout=20)[1]
                assert broker.returncode == (0 if good else 1), said
                assert word not in said, said
                assert good or "refuses the user or the password" in said, said
            finally:
                broker.kill()
                broker.wait()
    finally:
        redis.close()


if __name__ == "__main__":
    main([a_stop_said_to_one_broker_is_drained_by_the_collector_of_another,
          without_a_collector_a_stop_ends_after_five_seconds_at_every_broker, brokers_killed_under_load_are_left_for_others,
          what_only_idle_files_hold_comes_back_when_redis_was_emptied,
          a_failover_that_loses_lines_is_healed_from_the_files_and_told, a_password_is_seen_by_nobody])
