# SPDX-License-Identifier: Apache-2.0
"""Export consumers over HTTP: what every one of them has got is, by (sandbox, seq), exactly what was written, in order per
sandbox, whoever is killed when; what comes again after a resume is only what was not acknowledged."""
import http.client
import json
import os
import random
import socket
import threading
import time

from harness import PATIENCE, Source, System, line_bytes, main, until

# The log's own text goes to the same place in both stores; what is of the disk alone says so.


class Consumer:
    """Reads, keeps what is covered by a checkpoint as a program with a transaction would, acknowledges now and then."""

    def __init__(self, system, name, seed=0, ack_every=2):
        self.s, self.name, self.random, self.ack_every = system, name, random.Random(f"{name}/{seed}"), ack_every
        self.kept = {}  # (sandbox, seq) -> line; durable for the consumer, as of `checkpoint`
        self.order = {}  # sandbox -> the highest seq kept
        self.lives, self.labels = {}, {}
        self.gaps = []
        self.doubled = self.connects = self.busy = self.kills = 0
        self.acked = None  # the last checkpoint that was acknowledged
        self.since_ack = set()  # keys got since the place that is acknowledged
        self.stopped = False
        self.sock = None  # of the connection that is read
        self.fault = None

    def request(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.s.port, timeout=30 * PATIENCE)
        c.request("GET", path)
        return c, c.getresponse()

    def ack(self, checkpoint, covered):
        status, _, body = self.s.request("POST", f"/v1/export/{self.name}/ack", json.dumps({"checkpoint": checkpoint}))
        assert status in (200, 503), (status, body)
        if status == 200:
            self.acked = checkpoint
            self.since_ack -= covered
        return status == 200

    def once(self, query="", kill_after=None):
        """One connection: to its end, or cut after so many checkpoints. Returns the number of lines it brought."""
        try:
            c, r = self.request(f"/v1/export/{self.name}{query}")
            body = r.read() if r.status != 200 else b""
        except (OSError, http.client.HTTPException):
            return 0  # there is no gateway now
        if r.status != 200:
            c.close()
            assert r.status in (409, 503), (r.status, body)
            assert int(r.headers["Retry-After"]) > 0
            self.busy += r.status == 409
            return 0
        self.connects += 1
        self.sock = c.sock or r.fp.raw._sock
        page, seen, checkpoints, last, pending, brought = [], {}, 0, None, b"", 0
        told, here = set(), set()
        try:
            while not self.stopped:
                chunk = r.read1(1 << 16)
                if not chunk:
                    assert not pending and not page, "an answer that is whole ends with a checkpoint"
                    self.ack(last, here)
                    break
                *lines, pending = (pending + chunk).split(b"\n")
                for raw in lines:
                    if not raw:
                        continue
                    o = json.loads(raw)
                    if "checkpoint" in o:
                        self.keep(page)
                        here |= {(p["sandbox"], p["seq"]) for p in page}
                        page = []
                        checkpoints, last = checkpoints + 1, o["checkpoint"]
                        if kill_after is not None and checkpoints >= kill_after:
                            self.kills += 1
                            return brought
                        if checkpoints % self.ack_every == 0:
                            self.ack(o["checkpoint"], here)
                    elif o.get("event") == "sandbox":
                        told.add(o["sandbox"])
                        self.lives[o["sandbox"]] = o["life"]
                        self.labels[o["sandbox"]] = (o.get("host"), o["labels"])
                    elif o.get("event") == "gap":
                        self.gaps.append(o)
                    else:
                        assert o["sandbox"] in told, f"a line of {o['sandbox']} before its event"
                        # Within one answer each line comes once, in order, without a hole.
                        assert o["seq"] == seen.get(o["sandbox"], o["seq"] - 1) + 1, (self.name, o, seen.get(o["sandbox"]))
                        seen[o["sandbox"]] = o["seq"]
                        page.append(o)
                        brought += 1
        except (OSError, http.client.HTTPException):
            pass  # cut: what stands behind the last checkpoint is not kept
        finally:
            c.close()
        return brought

    def keep(self, page):
        for o in page:
            key = (o["sandbox"], o["seq"])
            if key in self.kept:
                self.doubled += 1
                assert key in self.since_ack, f"{self.name}: {key} came again, though it was acknowledged"
                assert self.kept[key] == o, f"{self.name}: {key} came as something else"
            else:
                assert o["seq"] == self.order.get(o["sandbox"], 0) + 1, f"{self.name}: {key} after {self.order.get(o['sandbox'])}"
                self.order[o["sandbox"]] = o["seq"]
                self.kept[key] = o
            self.since_ack.add(key)

    def run(self, seconds):
        """Follows, dying at random moments."""
        try:
            while not self.stopped:
                self.once("?follow=1", kill_after=self.random.choice((1, 2, 3, 5, 8, 13)))
                time.sleep(0.02)
        except BaseException as e:  # told by who waits for it
            self.fault = e

    def start(self, seconds=60):
        self.thread = threading.Thread(target=self.run, args=(seconds,), daemon=True)
        self.thread.start()

    def stop(self):
        self.stopped = True
        sock = self.sock
        if sock:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.thread.join(30 * PATIENCE)
        assert not self.thread.is_alive()
        if self.fault:
            raise self.fault
        self.stopped = False

    def drain(self, seconds=30):
        """Without follow until nothing is left; all of it is acknowledged then."""
        deadline = time.monotonic() + seconds * PATIENCE
        while True:
            if self.once() == 0:
                c, r = self.request(f"/v1/export/{self.name}")
                body = r.read()
                c.close()
                if r.status == 200 and b'"seq"' not in body:
                    return
            assert time.monotonic() < deadline, "not drained\n" + self.s.errors()

    def lag(self):
        status, _, body = self.s.get("/v1/export")
        if status != 200:
            return None
        return next((c for c in json.loads(body)["consumers"] if c["consumer"] == self.name), None)

    def check(self, sources):
        want = sum(len(x.written) for x in sources)
        for x in sources:
            got = [self.kept.get((x.sandbox, n + 1)) for n in range(len(x.written))]
            for n, (o, (ns, stream, text)) in enumerate(zip(got, x.written)):
                assert o is not None, f"{self.name}: {x.sandbox} line {n + 1} of {len(x.written)} is missing"
                assert line_bytes(o) == text and o["stream"] == stream and o["time"] == ns and o["container"] == x.container, (o, text)
        assert len(self.kept) == want, f"{self.name}: {len(self.kept)} lines, {want} were written"
        assert not self.gaps, self.gaps


class Wide(Source):
    """Lines of a KiB that nothing compresses to less than half, made fast."""
    soup = os.urandom(1 << 19).hex()

    def make(self, stream, bytes_wanted=None):
        n = len(self.written)
        return f"{n} {self.soup[n * 997 % 1000000:][:1000]}".encode()


def writers(sources, stop, pause=0.01):
    dice = random.Random(4711)
    while not stop.is_set():
        for x in dice.sample(sources, len(sources) // 3 + 1):
            x.write(dice.randint(1, 30))
        time.sleep(pause)


def under_load(s, sources, work):
    stop = threading.Event()
    thread = threading.Thread(target=writers, args=(sources, stop), daemon=True)
    thread.start()
    try:
        work()
    finally:
        stop.set()
        thread.join()


def stored(s, sources):
    for x in sources:
        s.has(x.sandbox, len(x.written), 60)


def two_consumers_killed_at_random_have_every_line_once():
    with System() as s:
        sources = [Source(s, f"box-{i}") for i in range(12)]
        one, two = Consumer(s, "one"), Consumer(s, "two", ack_every=1)
        one.start()
        two.start()
        most = 10 if s.redis else 40  # an acknowledgement there costs a disk's sync and more
        under_load(s, sources, lambda: until(lambda: one.fault or two.fault or (one.kills >= most and two.kills >= most), 30, "kills"))
        stored(s, sources)
        for c in (one, two):
            c.stop()
            c.drain()
            c.check(sources)
            lag = c.lag()
            assert (lag["lag_lines"], lag["lag_bytes"], lag["lag_seconds"]) == (0, 0, 0), lag
            print(f"   {c.name}: {len(c.kept)} lines, {c.connects} connections, {c.kills} kills, {c.doubled} came again")


def a_broker_and_a_gateway_killed_lose_and_double_nothing():
    with System() as s:
        sources = [Source(s, f"box-{i}") for i in range(8)]
        c = Consumer(s, "arch")
        c.start()

        def kills():
            dice = random.Random(99)
            for i in range(6):
                time.sleep(dice.uniform(0.05, 0.4))  # not a wait: the moment of the kill is what is tried out
                s.restart(("broker", "gateway")[i % 2])
                before, connects = len(c.kept), c.connects
                # A gateway that died leaves its lease behind for some seconds.
                until(lambda: c.fault or (len(c.kept) > before and (c.connects > connects or i % 2 == 0)), 40, "the consumer goes on\n" + s.errors())

        under_load(s, sources, kills)
        s.ready()
        stored(s, sources)
        c.stop()
        until(lambda: not c.lag()["reading"], 20, "the lease is over")
        c.drain()
        c.check(sources)
        print(f"   {len(c.kept)} lines, {c.connects} connections, {c.kills} kills, {c.doubled} came again, {c.busy} times busy")


def a_second_reader_is_refused_until_the_first_is_gone():
    with System() as s:
        x = Source(s, "box")
        x.write(100)
        s.has("box", 100)
        c, r = Consumer(s, "arch").request("/v1/export/arch?follow=1")
        assert r.status == 200 and r.headers["Sandlog-Checkpoint"]
        for query in ("", "?follow=1"):
            status, headers, body = s.get("/v1/export/arch" + query)
            assert status == 409 and json.loads(body)["type"] == "urn:sandlog:problem:consumer-busy", (status, body)
            assert int(headers["Retry-After"]) > 0
        assert s.get("/v1/export/other")[0] == 200
        assert s.json("/v1/export")["consumers"][0]["reading"]
        c.close()
        r.close()
        until(lambda: s.get("/v1/export/arch")[0] == 200, 10, "the lease is given back")


def a_slow_reader_keeps_its_lease_and_misses_nothing():
    with System() as s:
        sources = [Source(s, f"box-{i}") for i in range(4)]
        for x in sources:
            x.write(20000)
        stored(s, sources)
        c, r = Consumer(s, "slow").request("/v1/export/slow")
        r.read1(1000)
        begin = time.monotonic()
        while time.monotonic() - begin < 6:  # longer than a lease
            assert s.get("/v1/export/slow")[0] == 409
            time.sleep(0.5)
        rest = r.read()
        assert rest.count(b'"seq"') > 79000 and rest.strip().split(b"\n")[-1].startswith(b'{"checkpoint"')
        c.close()


def a_consumer_that_is_deleted_begins_anew():
    with System() as s:
        x = Source(s, "box")
        x.write(50)
        s.has("box", 50)
        c = Consumer(s, "arch")
        c.drain()
        c.check([x])
        status, _, body = s.request("DELETE", "/v1/export/arch")
        assert status == 204, body
        assert s.request("DELETE", "/v1/export/arch")[0] == 404
        assert s.request("POST", "/v1/export/arch/ack", json.dumps({"checkpoint": c.acked}))[0] == 404
        assert s.json("/v1/export") == {"consumers": []}
        again = Consumer(s, "arch")
        again.drain()
        again.check([x])


def an_answer_is_bounded_and_says_what_sandboxes_are():
    with System() as s:
        x = Source(s, "box")
        s.put("box", labels={"team": "a", "b\"": "\u2603"})
        for _ in range(200):  # many blocks, so that there is more than one page
            x.write(200)
            s.has("box", len(x.written))
        c = Consumer(s, "arch")
        assert c.once("?max_bytes=1") > 0
        first = len(c.kept)
        assert 0 < first < len(x.written), first
        assert c.labels["box"][1] == {"team": "a", "b\"": "\u2603"} and c.labels["box"][0]
        s.put("box", labels={"team": "z"})
        c.drain()
        assert c.labels["box"][1]["team"] == "z"
        c.check([x])
        for bad in ("max_bytes=0", "max_bytes=x", "follow=maybe"):
            assert s.get("/v1/export/arch?" + bad)[0] == 400
        assert s.get("/v1/export/" + "x" * 65)[0] == 400
        assert s.request("PUT", "/v1/export/arch", "{}")[0] == 405
        for body, status in (("", 400), ("[]", 400), ("{}", 400), ('{"checkpoint":7}', 400), ('{"checkpoint":"nonsense"}', 400)):
            assert s.request("POST", "/v1/export/arch/ack", body)[0] == status, body
        foreign = ("0" if c.acked[0] != "0" else "1") + c.acked[1:]
        if not s.redis:
            assert s.request("POST", "/v1/export/arch/ack", json.dumps({"checkpoint": foreign}))[0] == 410


def retention_waits_for_a_consumer_up_to_the_hold():
    if os.environ.get("SANDLOG_TEST_STORE") == "redis":
        return print("   not on Redis, which has no --retention-bytes: unit/store_redis_export has its own")
    options = ["--segment-bytes", "4MiB", "--retention-bytes", "1MiB", "--sandbox-bytes", "1MiB"]
    with System(broker=options + ["--export-hold", "1GiB"]) as s:
        x = Wide(s, "box")
        c = Consumer(s, "arch")
        x.write(1)
        s.has("box", 1)
        c.drain()
        for _ in range(10):
            x.write(2000)
        s.has("box", len(x.written), 60)
        assert s.request("POST", "/compact", port=s.broker_port)[0] == 200
        assert s.lines("box", tail=1)[0]["seq"] == len(x.written)
        assert s.text("box").count(b"\n") < len(x.written)  # others see what retention leaves
        lag = c.lag()
        assert lag["lag_lines"] == len(x.written) - 1, lag
        metrics = s.request("GET", "/metrics", port=s.broker_port)[2].decode()
        assert 'sandlog_broker_export_lag_lines{consumer="arch"}' in metrics
        c.drain()
        c.check([x])
        status = json.loads(s.request("GET", "/status", port=s.broker_port)[2])
        assert [k["consumer"] for k in status["consumers"]] == ["arch"], status

    with System(broker=options + ["--export-hold", "1MiB"]) as s:
        x = Wide(s, "box")
        c = Consumer(s, "arch")
        x.write(1)
        s.has("box", 1)
        c.drain()
        for _ in range(10):
            x.write(2000)
        s.has("box", len(x.written), 60)
        overrun = lambda: b"export_overrun_total 0" not in s.request("GET", "/metrics", port=s.broker_port)[2]
        assert s.request("POST", "/compact", port=s.broker_port)[0] == 200
        until(overrun, 20, "the hold is over")
        until(lambda: "export.overrun consumer=arch" in s.errors(), 5, "it is logged")
        answer = s.get("/v1/export/arch")[2].decode().split("\n")
        objects = [json.loads(line) for line in answer if line]
        gap = next(o for o in objects if o.get("event") == "gap")
        assert gap["reason"] == "retention" and gap["sandbox"] == "box" and gap["to_seq"] > 2, gap
        lines = [o["seq"] for o in objects if "seq" in o]
        assert lines == list(range(lines[0], len(x.written) + 1)) and lines[0] <= gap["to_seq"]


if __name__ == "__main__":
    main([two_consumers_killed_at_random_have_every_line_once, a_broker_and_a_gateway_killed_lose_and_double_nothing,
          a_second_reader_is_refused_until_the_first_is_gone, a_slow_reader_keeps_its_lease_and_misses_nothing,
          a_consumer_that_is_deleted_begins_anew, an_answer_is_bounded_and_says_what_sandboxes_are,
          retention_waits_for_a_consumer_up_to_the_hold])
