# SPDX-License-Identifier: Apache-2.0
"""A gateway that is asked to stop says so to each follower: also to one whose stream has not begun yet. One that waited for
its sandbox, or had connected a moment ago, kept the gateway from ending for its whole grace and was cut without a word."""
import http.client
import json
import signal
import socket
import threading
import time

from harness import PATIENCE, Source, System, WebSocket, main, until


def connections(system):
    """Those of the gateway, but for the one that asks."""
    return system.json("/status")["connections"] - 1


def who_waits_for_a_sandbox_is_sent_away_at_once():
    with System() as s:
        waiting = {}
        for name, path, accept in (
                ("text", s.url("later", follow=1, wait="60s"), "text/plain"),
                ("sse", s.url("later", follow=1, wait="60s"), "text/event-stream"),
                ("many", "/v1/logs?sandbox=later&follow=1&wait=60s", "application/x-ndjson")):
            waiting[name] = http.client.HTTPConnection("127.0.0.1", s.port, timeout=20 * PATIENCE)
            waiting[name].request("GET", path, headers={"Accept": accept})
        ws = WebSocket(s.port, s.url("later", wait="60s"))
        until(lambda: connections(s) == 4, 10, "all four wait")
        start = time.monotonic()
        assert s.stop("gateway") == 0
        took = time.monotonic() - start
        answers = {}
        for name, c in waiting.items():
            r = c.getresponse()
            answers[name] = (r.status, r.headers.get("Retry-After"), r.read())
        assert took < 4 * PATIENCE, f"it waited {took:.1f} s for readers that had nothing to take"
        for name in ("text", "many"):
            status, retry, body = answers[name]
            assert status == 503 and retry and json.loads(body)["status"] == 503, (name, answers[name])
        status, _, body = answers["sse"]
        assert status == 200 and b"retry:" in body and b"event: error" in body, answers["sse"]
        assert ws.message() is None and ws.code == 1013, ws.code


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5 * PATIENCE).close()
        return False
    except ConnectionRefusedError:
        return True


def who_had_come_is_answered():
    """Whose request had reached the machine, but not the gateway's parser, was reset when the gateway stopped: a client has
    no way to tell that from a request that was carried out. They are held back here until the gateway has its signal."""
    with System() as s:
        Source(s, "box").write(5)
        s.has("box", 5)
        again = [http.client.HTTPConnection("127.0.0.1", s.port, timeout=20 * PATIENCE) for _ in range(5)]
        for c in again:  # connections that had a request before
            c.request("GET", "/healthz")
            assert c.getresponse().read()
        idle = [http.client.HTTPConnection("127.0.0.1", s.port, timeout=20 * PATIENCE) for _ in range(5)]
        for c in idle:  # and some that have no other
            c.request("GET", "/healthz")
            assert c.getresponse().read()
        s.process["gateway"].send_signal(signal.SIGSTOP)
        wanted = ((s.url("box", tail=5, format="ndjson"), b'"seq":5'), (s.url("box", follow=1, format="ndjson"), b"shut"),
                  (s.url("later", follow=1, wait="60s"), b"shutting down"), ("/healthz", b"ok"))
        new = [http.client.HTTPConnection("127.0.0.1", s.port, timeout=20 * PATIENCE) for _ in range(20)]
        asked = [(c, wanted[i % len(wanted)]) for i, c in enumerate(again + new)]
        for c, (path, _) in asked:
            c.request("GET", path)
        halves = [socket.create_connection(("127.0.0.1", s.port), timeout=20 * PATIENCE) for _ in range(5)]
        for h in halves:
            h.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0")
        s.process["gateway"].send_signal(signal.SIGTERM)
        s.process["gateway"].send_signal(signal.SIGCONT)
        for c, (path, word) in asked:
            body = c.getresponse().read()
            assert word in body, (path, body)
        until(lambda: refused(s.port), 5, "nobody is let in any more, who would be reset at the end")
        start = time.monotonic()
        for h in halves:
            h.sendall(b".0.1\r\n\r\n")
            assert h.makefile("rb").read().startswith(b"HTTP/1.1 200 "), "half a head had come"
        p = s.process.pop("gateway")
        assert p.wait(20 * PATIENCE) == 0
        assert time.monotonic() - start < 4 * PATIENCE, "it waited for connections that have nothing to ask"


def a_follower_that_came_a_moment_before_is_told():
    with System() as s:
        Source(s, "box").write(5)
        s.has("box", 5)
        for _ in range(10):
            ws = WebSocket(s.port, s.url("box", tail=0))
            s.process["gateway"].send_signal(signal.SIGTERM)
            while ws.message() is not None:
                pass
            assert ws.code in (1012, 1013), ws.code
            assert s.stop("gateway") == 0
            s.start("gateway")
            s.ready()


def a_text_that_is_followed_is_cut_not_ended():
    """Plain text has no words for `shutdown`: its last chunk, sent when the gateway stopped, looked like the end of the log."""
    with System() as s:
        Source(s, "box").write(5)
        s.has("box", 5)
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=20 * PATIENCE)
        c.request("GET", s.url("box", follow=1, format="text"))
        r = c.getresponse()
        assert r.status == 200 and r.read1(65536)
        s.process["gateway"].send_signal(signal.SIGTERM)
        try:
            while r.read1(65536):
                pass
            raise AssertionError("the answer ended as if the log had")
        except (http.client.IncompleteRead, ConnectionResetError):
            pass
        assert s.stop("gateway") == 0


def a_stop_does_not_wait_for_a_broker_that_is_silent():
    """A read that still waited for the broker when the grace was over was taken back from a link that was freed: heap corruption."""
    with System(gateway=("--shutdown-grace", "1s")) as s:
        Source(s, "box").write(5)
        s.has("box", 5)
        exported = http.client.HTTPConnection("127.0.0.1", s.port, timeout=20 * PATIENCE)
        exported.request("GET", "/v1/export/one?follow=1")
        assert exported.getresponse().read1(65536)  # it holds a lease, which it gives back at its end
        s.process["broker"].send_signal(signal.SIGSTOP)
        try:
            threads = [threading.Thread(target=cut, args=(s, s.url("box", format=form)), daemon=True) for form in ("text", "ndjson", "sse") * 3]
            for t in threads:
                t.start()
            until(lambda: connections(s) == 1 + len(threads), 10, "all wait for the broker")
            assert s.stop("gateway") == 0
            for t in threads:
                t.join(20 * PATIENCE)
        finally:
            s.process["broker"].send_signal(signal.SIGCONT)
        s.start("gateway")
        s.ready()
        assert len(s.lines("box")) == 5


def cut(system, path):
    try:
        system.get(path)
    except (OSError, http.client.HTTPException):
        pass


if __name__ == "__main__":
    main([who_waits_for_a_sandbox_is_sent_away_at_once, who_had_come_is_answered, a_follower_that_came_a_moment_before_is_told,
          a_text_that_is_followed_is_cut_not_ended, a_stop_does_not_wait_for_a_broker_that_is_silent])
