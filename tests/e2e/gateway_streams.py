# SPDX-License-Identifier: Apache-2.0
"""Streams from beginning to end: seams, ends, refusals, followers that are slow or gone, a gateway that stops."""
import json
import os
import random
import signal
import socket
import threading
import time

from harness import PATIENCE, Source, Sse, System, WebSocket, check, line_bytes, main, until


def get_raw(s, path, *headers):
    """A connection with the request sent; the caller reads."""
    c = socket.create_connection(("127.0.0.1", s.port), timeout=30)
    c.sendall("\r\n".join([f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{s.port}", *headers, "", ""]).encode())
    return c


def dechunked(answer):
    """The body of an answer in chunks."""
    pieces, at = [], answer.index(b"\r\n\r\n") + 4
    while True:
        end = answer.index(b"\r\n", at)
        size = int(answer[at:end], 16)
        if size == 0:
            return b"".join(pieces)
        pieces.append(answer[end + 2:end + 2 + size])
        at = end + 2 + size + 2


def metric(s, name):
    for line in s.get("/metrics")[2].decode().splitlines():
        if line.startswith("sandlog_gateway_" + name + " "):
            return float(line.split()[1])
    raise AssertionError(name)


def cpu_s(s, name="gateway"):
    with open(f"/proc/{s.process[name].pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(s):
    with open(f"/proc/{s.process['gateway'].pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024


def followers_that_join_while_lines_come_see_each_once():
    with System() as s:
        source = Source(s, "busy")
        source.write(100)
        s.has("busy", 100)
        stop, pause = threading.Event(), random.Random(1)

        def writer():
            while not stop.is_set():
                source.write(20)
                time.sleep(0.002)
        w = threading.Thread(target=writer)
        w.start()
        followers = []
        for i in range(60):
            followers.append(Sse(s.port, s.url("busy", follow=1, data="json", **({"tail": 50} if i % 2 else {})), reconnect=False))
            time.sleep(pause.random() * 0.03)
        until(lambda: all(f.status == 200 for f in followers), 20, "all follow")
        stop.set()
        w.join()
        source.exit(0)
        for i, f in enumerate(followers):
            f.wait_end(30)
            seqs = [json.loads(d)["seq"] for _, _, d in f.logs()]
            assert seqs == list(range(seqs[0], len(source.written) + 1)), f"follower {i}: {len(seqs)} lines, from {seqs[0]}"
            assert i % 2 or seqs[0] == 1
            assert f.ended["reason"] == "stopped" and f.ended["last_seq"] == len(source.written), f.ended


def a_stopped_sandbox_is_told_apart_by_what_the_reader_asks():
    with System() as s:
        source = Source(s, "done")
        source.write(10)
        source.exit(7)
        until(lambda: (s.info("done") or {}).get("state") == "stopped" and s.info("done")["lines"] == 10, 10, "stopped")
        last = s.lines("done")[-1]["cursor"]
        before = s.lines("done")[-3]["cursor"]
        for path, headers, status in [
            (s.url("done", follow=1), {}, 409), (s.url("done", follow=1, tail=5), {}, 409),
            (s.url("done", follow=1, after=last), {}, 204), (s.url("done", follow=1), {"Last-Event-ID": last}, 204),
            (s.url("done"), {}, 200), (s.url("done", tail=3), {}, 200),
        ]:
            got, head, body = s.request("GET", path, headers=headers)
            assert got == status, (path, headers, got, body)
            assert got != 409 or json.loads(body)["type"].endswith("sandbox-not-running")
        status, head, body = s.request("GET", s.url("done", follow=1, after=before, format="ndjson"))
        objects = [json.loads(line) for line in body.splitlines()]
        assert status == 200 and head["Sandlog-State"] == "stopped" and [o["seq"] for o in objects[:2]] == [9, 10], (status, body)
        assert objects[2] == {"event": "end", "reason": "stopped", "exit_code": 7, "last_seq": 10, "lost": 0}, objects[2]
        ws = WebSocket(s.port, s.url("done"))
        assert ws.message() is None and ws.code == 4409, ws.code
        # a line from a new file makes it run again
        again = Source(s, "done", container="second")
        again.write(2)
        s.has("done", 12)
        assert s.info("done")["state"] == "running"


def a_deleted_sandbox_ends_its_followers_and_its_cursors():
    with System() as s:
        source = Source(s, "gone")
        source.write(5)
        s.has("gone", 5)
        cursor = s.lines("gone")[2]["cursor"]
        sse = Sse(s.port, s.url("gone", follow=1), reconnect=False)
        ws = WebSocket(s.port, s.url("gone"))
        sse.wait(5)
        assert s.request("DELETE", "/v1/sandboxes/gone")[0] == 204
        sse.wait_end()
        assert sse.ended["reason"] == "deleted", sse.ended
        assert list(ws.objects())[-1]["reason"] == "deleted" and ws.code == 1000
        assert s.get(s.url("gone"))[0] == 404 and s.get("/v1/sandboxes/gone")[0] == 404
        s.put("gone", state="running")
        got, _, body = s.get(s.url("gone", after=cursor))
        assert got == 410, (got, body)
        ws = WebSocket(s.port, s.url("gone", after=cursor))
        assert ws.message() is None and ws.code == 4410, ws.code


def a_reader_waits_for_a_sandbox_that_is_not_there_yet():
    with System() as s:
        started = time.monotonic()
        assert s.get(s.url("late", follow=1, wait="1s"))[0] == 404 and 0.9 < time.monotonic() - started
        sse = [Sse(s.port, s.url("late", follow=1, wait=20), reconnect=False) for _ in range(3)]
        until(lambda: metric(s, "feeds_count") == 1, 5, "one feed waits for all of them")
        source = Source(s, "late")
        source.write(10)
        for one in sse:
            one.wait(10)
        source.exit(0)
        for one in sse:
            one.wait_end()
            assert [d.encode() for _, _, d in one.logs()] == [t for _, _, t in source.written]


def limits_and_until_end_a_follow():
    with System() as s:
        source = Source(s, "box")
        source.write(10)
        s.has("box", 10)
        limited = Sse(s.port, s.url("box", follow=1, limit=15), reconnect=False)
        limited.wait(10)
        cut = time.time() + 1.5
        timed = Sse(s.port, s.url("box", follow=1, until=f"{cut:.3f}"), reconnect=False)
        grepped = Sse(s.port, s.url("box", follow=1, regex="stderr (1|2)[0-9] "), reconnect=False)
        source.write(10)
        limited.wait_end()
        assert len(limited.logs()) == 15 and limited.ended["reason"] == "limit", limited.ended
        until(lambda: time.time() > cut, 5, "the clock")
        source.write(10, stream="stderr")
        timed.wait_end()
        assert len(timed.logs()) == 20 and timed.ended["reason"] == "until", (len(timed.logs()), timed.ended)
        source.exit(0)
        grepped.wait_end()
        want = [t for _, w, t in source.written if w == "stderr" and 10 <= int(t.split()[2]) < 30]
        assert [d.encode() for _, _, d in grepped.logs()] == want, (len(grepped.logs()), len(want))


def stopped_readers_cost_a_bounded_buffer_and_miss_nothing():
    with System() as s:
        source = Source(s, "flood")
        source.write(1)
        s.has("flood", 1)
        slow = [get_raw(s, s.url("flood", follow=1, format="text")) for _ in range(50)]
        for c in slow:
            assert c.recv(1)
        sse = Sse(s.port, s.url("flood", follow=1), reconnect=False)
        before = rss_mb(s)
        for _ in range(250):
            source.write(500)
            time.sleep(0.005)
        total = sum(len(t) + 1 for _, _, t in source.written)
        sse.wait(len(source.written), 60)
        assert total > 10_000_000, total
        grown = rss_mb(s) - before
        # sanitizers keep what was freed
        assert PATIENCE > 1 or grown < 50 * 0.4 + 10, f"{grown:.0f} MB more for 50 stopped readers"
        source.exit(0)
        want = b"".join(t + b"\n" for _, _, t in source.written)
        for c in slow[:5] + slow[-2:]:
            data = bytearray(b"H")
            while not data.endswith(b"\r\n0\r\n\r\n"):
                more = c.recv(1 << 20)
                assert more, "cut"
                data += more
            assert dechunked(bytes(data)) == want
        assert metric(s, "fell_behind_total") >= 7


def clients_that_talk_or_hang_up_while_they_are_answered_cost_nothing():
    """libwebsockets 4.1.6 turns its loop without pause while an answer is under way and its client has sent something more,
    or closed its half: one such client took a whole core."""
    with System() as s:
        s.put("quiet", state="running")
        path = s.url("quiet", follow=1, format="text")
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        talks = socket.create_connection(("127.0.0.1", s.port))
        talks.sendall(request)
        until(lambda: metric(s, "followers_count") == 1, 5, "follows")
        talks.sendall(b"GET / HTTP/1.1\r\n")
        before = cpu_s(s)
        time.sleep(1)
        assert cpu_s(s) - before < 0.3, "input during an answer is left alone"
        hangs_up = socket.create_connection(("127.0.0.1", s.port), timeout=5)
        hangs_up.sendall(request)
        until(lambda: metric(s, "followers_count") == 2, 5, "follows")
        hangs_up.shutdown(socket.SHUT_WR)
        until(lambda: metric(s, "followers_count") == 1, 5, "who hung up is let go")
        both = socket.create_connection(("127.0.0.1", s.port), timeout=5)
        both.sendall(request * 2)
        until(lambda: metric(s, "followers_count") == 2, 5, "a request behind an endless answer waits in the kernel")
        before = cpu_s(s)
        time.sleep(1)
        assert cpu_s(s) - before < 0.3, "and costs nothing"
        # short answers may be asked for in a row
        short = socket.create_connection(("127.0.0.1", s.port), timeout=5)
        short.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10)
        data = b""
        while data.count(b"\r\n\r\nok\n") < 10:
            more = short.recv(65536)
            assert more, ("closed behind", data)
            data += more
        talks.close()


def a_gateway_that_stops_tells_its_readers_where_to_go_on():
    with System() as s:
        source = Source(s, "box")
        source.write(100)
        s.has("box", 100)
        sse = Sse(s.port, s.url("box", follow=1), reconnect=False)
        ws = WebSocket(s.port, s.url("box"))
        text = get_raw(s, s.url("box", follow=1, format="text"))
        sse.wait(100)
        got = b""
        source.write(7)  # and some that are live
        sse.wait(107)
        while source.written[-1][2] not in got:
            got += text.recv(65536)
        started = time.monotonic()
        assert s.stop("gateway") == 0
        assert time.monotonic() - started < 8 * PATIENCE
        sse.wait_end()
        assert (sse.ended["reason"], sse.ended["last_seq"]) == ("shutdown", 107), sse.ended
        objects = list(ws.objects())
        assert objects[-1]["reason"] == "shutdown" and ws.code == 1012, (objects[-1], ws.code)
        assert ws.reason == objects[-2]["cursor"] == sse.last_id
        while more := text.recv(65536):
            got += more
        assert not got.endswith(b"0\r\n\r\n"), "a text has no words for it: it is cut"
        s.start("gateway")
        s.ready()
        source.write(5)
        s.has("box", 112)
        rest = WebSocket(s.port, s.url("box", after=ws.reason))
        assert [json.loads(rest.message()[1].splitlines()[0])["seq"]] == [108]


if __name__ == "__main__":
    main([followers_that_join_while_lines_come_see_each_once, a_stopped_sandbox_is_told_apart_by_what_the_reader_asks,
          a_deleted_sandbox_ends_its_followers_and_its_cursors, a_reader_waits_for_a_sandbox_that_is_not_there_yet,
          limits_and_until_end_a_follow, stopped_readers_cost_a_bounded_buffer_and_miss_nothing,
          clients_that_talk_or_hang_up_while_they_are_answered_cost_nothing,
          a_gateway_that_stops_tells_its_readers_where_to_go_on])
