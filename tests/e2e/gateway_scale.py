# SPDX-License-Identifier: Apache-2.0
"""Many followers: joining while lines come, stopped ones beside one that reads, thousands that come back after a restart; and
patterns that cost a lot. Crowds are bench/crowd.c's: one process, one epoll, ids checked."""
import json
import os
import signal
import socket
import statistics
import subprocess
import threading
import time

from gateway_streams import get_raw, metric, rss_mb
from harness import BIN, PATIENCE, Source, System, main, rfc3339, skip, until


class Crowd:
    """Followers of one path, who dial again as browsers do."""

    def __init__(self, s, path, count, join_s=0):
        tool = os.path.join(BIN, "../bench/bench_crowd")
        if not os.path.exists(tool):
            skip("needs bench_crowd (a build with tests)")
        self.count = count
        self.process = subprocess.Popen([tool, str(s.port), path, "1", str(count), str(join_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def all_in(self):
        """Waits for the first answers; seconds that it took."""
        following, seconds = self.process.stdout.readline().split()
        assert int(following) == self.count, (following, self.count)
        return float(seconds)

    def look(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        names = ("following", "settled_s", "dials", "refused", "events", "least", "most", "wrong")
        return dict(zip(names, map(float, self.process.stdout.readline().split())))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def a_thousand_that_join_at_random_see_each_line_once():
    with System() as s:
        source = Source(s, "busy")
        source.write(1000)
        s.has("busy", 1000)
        stop = threading.Event()

        def writer():
            while not stop.is_set():
                source.write(20)
                time.sleep(0.01)
        crowd = Crowd(s, s.url("busy", follow=1, tail=500), 1000, join_s=3)
        w = threading.Thread(target=writer)
        w.start()
        crowd.all_in()
        stop.set()
        w.join()
        until(lambda: crowd.look()["least"] == len(source.written), 60, "all have the last line")
        now = crowd.look()
        assert now["wrong"] == 0 and now["dials"] == 1000 and now["most"] == len(source.written), (now, len(source.written))
        assert now["events"] > 1000 * 500, now
        crowd.close()


def worked_ms(s):
    """What the gateway's loop has worked so far."""
    with open(f"/proc/{s.process['gateway'].pid}/schedstat") as f:
        return int(f.read().split()[0]) / 1e6


def work_us(s, source, seconds):
    """What the gateway works for a line while one follower reads, as 200 marks/s go by. Others delay it by work that is done for them; the machine's
    load is not in it, as it is in the time until an event."""
    c = get_raw(s, s.url(source.sandbox, follow=1, tail=0), "Accept: text/event-stream")
    assert b"\r\n\r\n" in c.recv(65536)
    pending, end = b"", time.monotonic() + seconds
    worked, lines = worked_ms(s), len(source.written)
    c.settimeout(10 * PATIENCE)
    while time.monotonic() < end:
        mark = f"mark {time.monotonic_ns()} ".encode()
        source.file.write(rfc3339(time.time_ns()).encode() + b" stdout F " + mark + b"x" * 50 + b"\n")
        while mark not in pending:
            pending = pending[-200:] + c.recv(65536)
        time.sleep(0.005)
    c.close()
    return (worked_ms(s) - worked) * 1000 / max(1, len(source.written) - lines)


def stopped_followers_do_not_delay_one_that_reads():
    with System() as s:
        flood, quiet = Source(s, "flood"), Source(s, "quiet")
        for source in (flood, quiet):
            source.write(1)
            s.has(source.sandbox, 1)
        stop = threading.Event()

        def writer():
            while not stop.is_set():
                flood.write(100)
                time.sleep(0.02)
        w = threading.Thread(target=writer)
        w.start()
        alone, beside, stopped = [], [], []
        before = rss_mb(s)
        try:
            for turn in range(3):
                alone.append(work_us(s, flood, 1.2))
                for _ in range(200):
                    c = socket.socket()
                    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    c.connect(("127.0.0.1", s.port))
                    c.sendall(f"GET {s.url('flood', follow=1, format='text')} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                    stopped.append(c)
                until(lambda: metric(s, "followers_count") == 200, 20, "200 follow")
                seen = [-1]
                until(lambda: seen.append(metric(s, "pages_total")) or time.sleep(0.3) or seen[-1] == seen[-2], 20, "they are full")
                beside.append(work_us(s, flood, 1.2))
                if turn < 2:
                    for c in stopped:
                        c.close()
                    stopped = []
                    until(lambda: metric(s, "followers_count") == 0, 20, "they are gone")
            if PATIENCE == 1:  # the pages of who does not read are given back in a while
                until(lambda: rss_mb(s) - before < 200 * 0.25 + 20, 20, "200 stopped followers take no more than 256 KiB each")
        finally:
            stop.set()
            w.join()
        print(f"   work for a line: {statistics.median(alone):.1f} us alone, {statistics.median(beside):.1f} beside 200")
        assert statistics.median(beside) < 2 * statistics.median(alone) + 10, (alone, beside)
        # and they still get every line
        want = b"".join(t + b"\n" for _, _, t in flood.written)
        flood.exit(0)
        c, data = stopped[0], b""
        while not data.endswith(b"\r\n0\r\n\r\n"):
            more = c.recv(1 << 20)
            assert more, "cut"
            data += more
        assert data.count(flood.written[-1][2]) == 1 and data.count(flood.written[0][2]) == 1 and len(data) > len(want)


def five_thousand_settle_after_restarts():
    count = 5000
    with System(gateway=("--max-followers", "20000", "--max-followers-per-token", "20000")) as s:
        source = Source(s, "box")
        source.write(20)
        s.has("box", 20)
        crowd = Crowd(s, s.url("box", follow=1), count)
        crowd.all_in()
        for daemon in ("gateway", "broker"):
            started = time.monotonic()
            s.restart(daemon)
            s.ready(30)
            source.write(5)
            until(lambda: crowd.look()["least"] == len(source.written), 30, f"all {count} have what was written after the {daemon}'s restart")
            took = time.monotonic() - started
            now = crowd.look()
            assert took < 30 * PATIENCE and now["following"] == count, (daemon, took, now)
            assert now["wrong"] == 0 and now["refused"] == 0, (daemon, now)
        # told in words where the gateway stops by itself
        s.stop("gateway")
        s.start("gateway")
        s.ready(30)
        source.write(1)
        until(lambda: crowd.look()["least"] == len(source.written), 30, "all have the last line")
        now = crowd.look()
        assert now["wrong"] == 0 and now["refused"] == 0, now
        crowd.close()


def a_pattern_over_a_long_line_holds_nobody_up():
    """A line of 1 MiB under a pattern of 400 positions, most of them alive, takes half a second of work, and more with every reader of it."""
    hostile = "(a|b|c)*c(a|b|c){400}d"
    with System() as s:
        long, quick = Source(s, "long"), Source(s, "quick")
        for i in range(2):
            long.file.write(b"".join(rfc3339(time.time_ns()).encode() + b" stdout P " + os.urandom(8000).hex().encode().translate(
                bytes.maketrans(b"0123456789def", b"abababababcba")) + b"\n" for _ in range(60)))
            long.file.write(rfc3339(time.time_ns()).encode() + b" stdout F end\n")
        quick.write(100)
        s.has("quick", 100)
        s.has("long", 2)
        answers = []

        def search(**more):
            answers.append(s.get(s.url("long", regex=hostile, format="text", **more)))
        readers = [threading.Thread(target=search, kwargs=k) for k in ({}, {"tail": 1}, {"follow": 1, "until": f"{time.time() + 1:.0f}"})]
        held = []
        for r in readers:
            r.start()
        while any(r.is_alive() for r in readers):
            worked = worked_ms(s)
            assert s.get("/healthz")[0] == 200
            held.append(worked_ms(s) - worked)
            time.sleep(0.002)
        for r in readers:
            r.join()
        assert all(a[0] == 200 for a in answers), answers
        # what the gateway works while one short request waits; a turn of its loop is some 10 ms, the machine's load not in it
        print(f"   {len(held)} requests beside it, at most {max(held):.0f} ms of work before their answers")
        assert len(held) > 5 and max(held) < 150 * PATIENCE, sorted(held)[-10:]
        # it finds what is there, wherever it was put aside
        needle = s.text("long", regex="[abc]{50}.*end$|^end$")
        assert needle.count(b"end") <= 2
        assert len(s.text("long", regex="c")) == len(s.text("long"))
        assert len(s.text("long", regex="^[^q]*$", tail=1)) == len(s.text("long", tail=1))


if __name__ == "__main__":
    main([a_thousand_that_join_at_random_see_each_line_once, stopped_followers_do_not_delay_one_that_reads,
          five_thousand_settle_after_restarts, a_pattern_over_a_long_line_holds_nobody_up])
