# SPDX-License-Identifier: Apache-2.0
"""A gateway that is asked to stop says so to each follower: also to one whose stream has not begun yet. One that waited for
its sandbox, or had connected a moment ago, kept the gateway from ending for its whole grace and was cut without a word."""
import http.client
import json
import signal
import threading
import time

from harness import PATIENCE, Source, System, WebSocket, main, until


def who_waits_for_a_sandbox_is_sent_away_at_once():
    with System() as s:
        answers = {}

        def ask(name, path, accept):
            c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=20 * PATIENCE)
            c.request("GET", path, headers={"Accept": accept})
            r = c.getresponse()
            answers[name] = (r.status, r.headers.get("Retry-After"), r.read())

        threads = [threading.Thread(target=ask, args=a) for a in (
            ("text", s.url("later", follow=1, wait="60s"), "text/plain"),
            ("sse", s.url("later", follow=1, wait="60s"), "text/event-stream"),
            ("many", "/v1/logs?sandbox=later&follow=1&wait=60s", "application/x-ndjson"))]
        for t in threads:
            t.start()
        ws = WebSocket(s.port, s.url("later", wait="60s"))
        # an answer to a later request shows that the earlier ones were taken
        assert s.get("/healthz")[0] == 200
        start = time.monotonic()
        assert s.stop("gateway") == 0
        took = time.monotonic() - start
        for t in threads:
            t.join()
        assert took < 4, f"it waited {took:.1f} s for readers that had nothing to take"
        for name in ("text", "many"):
            status, retry, body = answers[name]
            assert status == 503 and retry and json.loads(body)["status"] == 503, (name, answers[name])
        status, _, body = answers["sse"]
        assert status == 200 and b"retry:" in body and b"event: error" in body, answers["sse"]
        assert ws.message() is None and ws.code == 1013, ws.code


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
            until(lambda: b"sandlog_gateway_requests_total" in s.get("/metrics")[2], 10, "the gateway goes on")
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
    main([who_waits_for_a_sandbox_is_sent_away_at_once, a_follower_that_came_a_moment_before_is_told,
          a_text_that_is_followed_is_cut_not_ended, a_stop_does_not_wait_for_a_broker_that_is_silent])
