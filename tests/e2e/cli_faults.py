# SPDX-License-Identifier: Apache-2.0
"""The command against a server that misbehaves on purpose: connections cut at every byte, refusals, wrong answers,
silence; and against readers of its own output that go away. No daemon is needed."""
import base64
import concurrent.futures
import http.server
import json
import os
import re
import signal
import subprocess
import threading
import urllib.parse

from harness import BIN, PATIENCE, free_port, main

SANDLOG = os.path.join(BIN, "sandlog")


def problem(code, detail, status):
    body = json.dumps({"type": "https://sandlog.example/problems/" + code, "title": code, "status": status, "detail": detail}).encode()
    return status, "application/problem+json", body


class Gateway:
    """Serves one log, `lines` (bytes, or ("gap", object)), under any sandbox id, as text/event-stream with data=json.
    `plan(gateway, request)` may answer instead: (status, content type, body[, headers]); or an int: the stream is cut
    after so many bytes; None: all is well."""

    def __init__(self, lines, plan=None, follow_ends=True):
        self.lines, self.plan, self.follow_ends = lines, plan, follow_ends
        self.requests = []
        gateway = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                try:
                    gateway.answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                self.close_connection = True

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def events(self, after, query):
        """The stream behind line `after` (1 is the first)."""
        out, seq = bytearray(b"retry: 1000\n\n"), 0
        for line in self.lines:
            if isinstance(line, tuple):
                if seq >= after:
                    out += b"id: c-%d\nevent: gap\ndata: %s\n\n" % (seq, json.dumps(line[1]).encode())
                continue
            seq += 1
            if seq <= after:
                continue
            o = {"seq": seq, "cursor": f"c-{seq}", "time": f"2026-02-20T14:30:00.{seq:09d}Z", "stream": "stdout",
                 "container": "main", "line": line.decode("utf-8", "replace")}
            if line.decode("utf-8", "replace").encode() != line:
                o["raw"] = base64.b64encode(line).decode()
            out += b"id: c-%d\nevent: log\ndata: %s\n\n" % (seq, json.dumps(o, ensure_ascii=False).encode())
        reason = "stopped" if "follow" in query else "complete"
        return bytes(out) + b"event: end\ndata: %s\n\n" % json.dumps({"reason": reason, "exit_code": 0, "last_seq": seq, "lost": 0}).encode()

    def answer(self, h):
        url = urllib.parse.urlsplit(h.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        last = h.headers.get("Last-Event-ID")
        request = {"path": url.path, "query": query, "last": last, "headers": dict(h.headers), "n": len(self.requests)}
        self.requests.append(request)
        verdict = self.plan(self, request) if self.plan else None
        if isinstance(verdict, tuple):
            status, kind, body = verdict[:3]
            h.send_response(status)
            h.send_header("Content-Type", kind)
            h.send_header("Content-Length", str(len(body)))
            for name, value in (verdict[3] if len(verdict) > 3 else {}).items():
                h.send_header(name, value)
            h.end_headers()
            h.wfile.write(body)
            return
        cursor = last or query.get("after")
        body = self.events(int(cursor[2:]) if cursor else 0, query)
        count = len([x for x in self.lines if not isinstance(x, tuple)])
        if not cursor and query.get("tail", "all") != "all":
            body = self.events(max(0, count - int(query["tail"])), query)
        h.send_response(200)
        h.send_header("Content-Type", "text/event-stream")
        h.send_header("Sandlog-Newest", f"c-{count}")
        h.send_header("Connection", "close")
        h.end_headers()
        if not self.follow_ends and "follow" in query and verdict is None:
            body = body[:body.index(b"event: end")]
            h.wfile.write(body)
            h.wfile.flush()
            threading.Event().wait()
        h.wfile.write(body if verdict is None else body[:verdict])

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def environment(gateway, **more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SANDLOG_")}
    return dict(clean, SANDLOG_SERVER=gateway if isinstance(gateway, str) else gateway.url, **more)


def sandlog(gateway, *args, **more):
    p = subprocess.run([SANDLOG, *args], capture_output=True, env=environment(gateway, **more), timeout=60 * PATIENCE)
    return p.returncode, p.stdout, p.stderr.decode()


SOUP = [b"first", b"", b"data: forged", b"\xff\xfe\x00 not text", b"CR\rin\r", "Umläute und 日本".encode(), b'"quotes" \\', b"last"]


def a_connection_cut_at_any_byte_loses_and_doubles_nothing():
    lines = [b"first", b"\xff\x00", b"last"]
    want = b"".join(line + b"\n" for line in lines)
    with Gateway(lines) as whole:
        size = len(whole.events(0, {}))
    for follow in ([], ["-f"]):
        def one(cut):
            with Gateway(lines, lambda g, r: cut if r["n"] == 0 else None) as g:
                code, out, err = sandlog(g, "logs", *follow, "box")
                assert (code, out) == (0, want), (cut, code, out, err)
                assert len(g.requests) <= 2, g.requests
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(one, range(size)))


def a_server_that_cuts_each_connection_is_read_to_the_end():
    lines = [b"line %d" % i for i in range(20)]
    with Gateway(lines, lambda g, r: 230 if r["n"] < 19 else None) as g:
        code, out, err = sandlog(g, "logs", "-f", "box")
        assert (code, out.split(b"\n")) == (0, lines + [b""]), (code, out, err)
        assert len(g.requests) > 10


def tail_and_since_are_asked_for_once():
    lines = [b"line %d" % i for i in range(20)]
    with Gateway(lines, lambda g, r: 400 if r["n"] == 0 else None) as g:
        code, out, err = sandlog(g, "logs", "-f", "-n", "5", "--since", "1h", "--stream", "stdout", "--grep", "l", "box")
        assert (code, out.split(b"\n")) == (0, lines[-5:] + [b""]), (code, out, err)
        first, second = (r["query"] for r in g.requests)
        assert first["tail"] == "5" and first["since"] == "1h" and first["stream"] == "stdout" and first["regex"] == "l", first
        assert "tail" not in second and "since" not in second and second["stream"] == "stdout" and second["regex"] == "l", second


def a_quiet_follower_from_now_on_misses_nothing_of_an_outage():
    """`-n 0` delivers nothing at first, so there is no cursor to resume from when the connection goes."""
    lines = [b"old"]

    def plan(g, r):
        if r["n"] == 0:
            return 13  # nothing but `retry`
        lines.append(b"written meanwhile")
        return None
    with Gateway(lines, plan) as g:
        code, out, err = sandlog(g, "logs", "-f", "-n", "0", "box")
        assert (code, out) == (0, b"written meanwhile\n"), (code, out, err, g.requests)


def an_age_grows_while_the_connection_is_away():
    with Gateway([b"x"], lambda g, r: 13 if r["n"] == 0 else None) as g:
        code, _, _ = sandlog(g, "logs", "-f", "--since", "10m", "box")
        assert code == 0 and g.requests[0]["query"]["since"] == "10m"
        grown = g.requests[1]["query"]["since"]
        assert re.fullmatch(r"\d+ns", grown) and int(grown[:-2]) > 600 * 10**9, grown


def without_reconnect_a_lost_connection_is_an_error():
    with Gateway(SOUP, lambda g, r: 200) as g:
        code, out, err = sandlog(g, "logs", "--no-reconnect", "box")
        assert code == 1 and err.count("\n") == 1 and "connection lost" in err and len(g.requests) == 1, (code, err)


def refusals_are_one_clear_line():
    for answer, words in [
        (problem("sandbox-not-found", "there is none", 404), ['no sandbox "box"']),
        (problem("unauthenticated", "no token", 401), ["token"]),
        (problem("forbidden", "scope too small", 403), ["scope too small"]),
        (problem("invalid-parameter", "regex: missing )", 400), ["--grep: missing )"]),
        (problem("cursor-expired", "another store", 410), ["another store"]),
        (problem("too-many-followers", "no more than 3", 429), [": no more than 3"]),
        (problem("broker-unavailable", "no broker", 503), ["no broker"]),
        ((200, "text/html", b"<html>"), ["gateway"]),
        ((404, "text/html", b"<html>"), ["404", "gateway"]),
        ((200, "text/event-stream", b'retry: 50\n\nevent: error\ndata: {"detail":"come back later"}\n\n'), ["come back later"]),
        ((200, "text/event-stream", b"id: c-1\nevent: log\ndata: rubbish\n\n"), ["no sense"]),
        ((400, "application/problem+json", b'{"detail":"\\u001b]0;owned\\u0007\\u009b31m"}'), ["^[]0;owned^G\\x9b31m"]),
    ]:
        for follow in ([], ["-f"]):
            with Gateway(SOUP, lambda g, r: answer) as g:
                code, out, err = sandlog(g, "logs", *follow, "box")
                assert code == 1 and out == b"" and err.count("\n") == 1 and err.startswith("sandlog: "), (answer, code, out, err)
                assert all(w in err for w in words), (answer, err)
                assert len(g.requests) == 1, "a fault before the first answer is final"


def a_busy_server_is_asked_again_once_it_has_answered():
    for busy in (problem("broker-unavailable", "no broker", 503), problem("too-many-followers", "no more", 429), (502, "text/html", b""),
                 (200, "text/event-stream", b'retry: 50\n\nevent: error\ndata: {"detail":"no broker"}\n\n')):
        with Gateway(SOUP, lambda g, r: (300, busy, busy, None)[min(r["n"], 3)]) as g:
            code, out, err = sandlog(g, "logs", "-f", "box")
            assert (code, out) == (0, b"".join(line + b"\n" for line in SOUP)), (busy, code, out, err)
            assert len(g.requests) == 4 and err == "", err


def a_server_that_shuts_down_is_waited_for():
    def plan(g, r):
        if r["n"] == 0:
            body = g.events(0, r["query"])
            body = body[:body.index(b"id: c-4")] + b'event: end\ndata: {"reason":"shutdown"}\n\n'
            return 200, "text/event-stream", body
        return None
    with Gateway(SOUP, plan) as g:
        code, out, err = sandlog(g, "logs", "-f", "box")
        assert (code, out) == (0, b"".join(line + b"\n" for line in SOUP)), (code, out, err)


def a_gap_is_told_once_although_it_comes_again():
    """A gap's id is the line before it: a reader cut right behind it resumes there and is sent it once more."""
    gap = {"from": "c-2", "to": "c-3", "lines": 131, "reason": "retention"}
    lines = [b"one", b"two", ("gap", gap), b"three"]
    with Gateway(lines) as g:
        cut = g.events(0, {}).index(b"id: c-3")
    with Gateway(lines, lambda g, r: cut if r["n"] == 0 else None) as g:
        code, out, err = sandlog(g, "logs", "box")
        assert (code, out, err) == (0, b"one\ntwo\nthree\n", "sandlog: gap: 131 lines lost (retention)\n"), (code, out, err)
    with Gateway(lines, lambda g, r: cut if r["n"] == 0 else None) as g:
        code, out, err = sandlog(g, "logs", "-o", "json", "box")
        objects = [json.loads(x) for x in out.split(b"\n") if x]
        assert [o.get("event") for o in objects] == [None, None, "gap", None] and objects[2]["lines"] == 131, out


def following_a_stopped_sandbox_prints_what_there_is():
    stopped = problem("sandbox-not-running", "it is stopped", 409)
    with Gateway(SOUP, lambda g, r: stopped if "follow" in r["query"] else None) as g:
        code, out, err = sandlog(g, "logs", "-f", "-n", "2", "box")
        assert (code, out, err) == (0, SOUP[-2] + b"\nlast\n", ""), (code, out, err)
    # and when it stopped while the connection was away: nothing left
    with Gateway(SOUP, lambda g, r: (204, "text/plain", b"") if r["last"] == "c-8" else g.events(0, {}).index(b"event: end")) as g:
        code, out, err = sandlog(g, "logs", "-f", "box")
        assert (code, out.count(b"\n")) == (0, len(SOUP)), (code, out, err)


def several_are_prefixed_and_never_mixed_within_a_line():
    lines = [b"x" * 300 + b" %d" % i for i in range(200)]
    with Gateway(lines) as g:
        code, out, err = sandlog(g, "logs", "-f", "a", "b", "c")
        assert code == 0, err
        got = {b"a": [], b"b": [], b"c": []}
        for line in out.split(b"\n")[:-1]:
            m = re.fullmatch(rb"\[([abc])\] (x{300} \d+)", line)
            assert m, line
            got[m[1]].append(m[2])
        assert all(v == lines for v in got.values())
        code, out, _ = sandlog(g, "logs", "-o", "json", "a", "b")
        objects = [json.loads(x) for x in out.split(b"\n") if x]
        assert [o["sandbox"] for o in objects] == ["a"] * 200 + ["b"] * 200, "without -f one after the other"


def one_unknown_of_several_does_not_stop_the_others():
    with Gateway(SOUP, lambda g, r: problem("sandbox-not-found", "", 404) if "/b/" in r["path"] else None) as g:
        code, out, err = sandlog(g, "logs", "-f", "a", "b", "c")
        assert code == 1 and out.count(b"[a] ") == out.count(b"[c] ") == len(SOUP) and 'no sandbox "b"' in err, (code, out, err)


def the_token_is_sent_and_never_said():
    secret = "eyJhbGciOi.secret.part"
    for how in ("environment", "file"):
        with Gateway(SOUP) as g:
            if how == "environment":
                code, _, err = sandlog(g, "logs", "box", SANDLOG_TOKEN=secret)
            else:
                path = "/proc/self/fd/0"
                p = subprocess.run([SANDLOG, "logs", "--token-file", path, "box"], input=secret.encode() + b"\n", capture_output=True,
                                   env=environment(g))
                code, err = p.returncode, p.stderr.decode()
            assert code == 0 and g.requests[0]["headers"]["Authorization"] == "Bearer " + secret and secret not in err
    with Gateway(SOUP) as g:
        code, _, err = sandlog(g, "logs", "box", SANDLOG_TOKEN="two words\nX-Forged: 1")
        assert code == 2 and not g.requests and "two words" not in err, err


def nobody_there_is_said_with_the_address():
    address = f"http://127.0.0.1:{free_port()}"
    for args in (["logs", "box"], ["logs", "-f", "box"], ["ps"]):
        code, _, err = sandlog(address, *args)
        assert code == 1 and err.startswith(f"sandlog: cannot reach {address}: connection refused") and err.count("\n") == 1, err


def a_reader_that_goes_away_ends_it_quietly():
    many = [b"line %d" % i for i in range(20000)]
    for lines, ends in ((many, True), ([b"first"], False)):  # while it writes, and while it waits for more
        with Gateway(lines, follow_ends=ends) as g:
            p = subprocess.Popen([SANDLOG, "logs", "-f", "box"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(g))
            assert p.stdout.readline() in (b"line 0\n", b"first\n")
            p.stdout.close()
            assert p.wait(timeout=20 * PATIENCE) == 0 and p.stderr.read() == b""
            p.stderr.close()


def a_full_disk_is_an_error():
    with Gateway(SOUP) as g, open("/dev/full", "wb") as full:
        p = subprocess.run([SANDLOG, "logs", "box"], stdout=full, stderr=subprocess.PIPE, env=environment(g))
        assert p.returncode == 1 and p.stderr == b"sandlog: cannot write: no space left on device\n", p.stderr


def ctrl_c_ends_it_with_130():
    with Gateway([b"x"], follow_ends=False) as g:
        p = subprocess.Popen([SANDLOG, "logs", "-f", "box"], stdout=subprocess.PIPE, env=environment(g))
        assert p.stdout.readline() == b"x\n"
        p.send_signal(signal.SIGINT)
        assert p.wait(timeout=20 * PATIENCE) == 130
        p.stdout.close()


def bad_usage_is_one_line_and_2():
    for args, words in [
        ([], ["logs"]), (["nonsense"], ["nonsense"]), (["--nonsense"], ["--nonsense"]), (["logs"], ["ps"]),
        (["logs", "a/b"], ["a/b"]), (["logs", ".."], [".."]), (["logs", "-n", "-1", "b"], ["-1"]), (["logs", "--tail=ten", "b"], ["ten"]),
        (["logs", "--since", "yesterday", "b"], ["yesterday"]), (["logs", "--stream", "stdin", "b"], ["stdin"]),
        (["logs", "-o", "xml", "b"], ["xml"]), (["logs", "-l", "novalue"], ["novalue"]), (["logs", "--folow", "b"], ["--follow"]),
        (["logs", "--server", "ftp://x", "b"], ["ftp://x"]), (["ps", "x"], ["x"]), (["ps", "-o", "xml"], ["xml"]), (["run"], ["CMD"]),
        (["run", "--id", "a/b", "--", "true"], ["a/b"]), (["run", "--log-dir"], ["--log-dir"]), (["up", "--listen", "x"], ["x"]), (["up", "y"], ["y"]),
    ]:
        code, out, err = sandlog("http://127.0.0.1:9", *args)
        assert code == 2 and out == b"" and err.count("\n") == 1 and all(w in err for w in words), (args, code, out, err)
    for args in (["--help"], ["help"], ["logs", "--help"], ["help", "ps"], ["run", "--help"], ["up", "--help"]):
        code, out, err = sandlog("http://127.0.0.1:9", *args)
        assert code == 0 and b"sandlog" in out and err == "", (args, code, err)


def pages_of_the_list_are_put_together():
    boxes = [{"id": f"box-{i}", "state": "running", "exit_code": None, "host": "h\x1b[2J", "first_time": None, "last_time": None,
              "lines": i, "bytes": 2**i, "labels": {}} for i in range(30)]

    def plan(g, r):
        assert r["path"] == "/v1/sandboxes", r
        at = int(r["query"].get("page", "0"))
        body = {"sandboxes": boxes[at:at + 7]}
        if at + 7 < len(boxes):
            body["next_page"] = str(at + 7)
        return 200, "application/json", json.dumps(body).encode()
    with Gateway([], plan) as g:
        code, out, err = sandlog(g, "ps", "-o", "json")
        assert code == 0 and json.loads(out) == boxes and len(g.requests) == 5 and err == "", (code, err)
        assert all(r["query"].get("state") == "running" for r in g.requests)
        code, out, _ = sandlog(g, "ps", "-a")
        rows = out.decode().splitlines()
        assert code == 0 and len(rows) == 31 and rows[0].split() == ["ID", "STATE", "AGE", "LINES", "SIZE", "LAST", "LINE", "EXIT", "HOST"]
        assert rows[5].split() == ["box-4", "running", "-", "4", "16B", "-", "-", "h^[[2J"] and "state" not in g.requests[-1]["query"], rows[5]
        assert len({row.index("running") for row in rows[1:]}) == 1
    with Gateway([], lambda g, r: (200, "application/json", b'{"sandboxes":[],"next_page":null}')) as g:
        assert sandlog(g, "ps")[1].count(b"\n") == 1 and json.loads(sandlog(g, "ps", "-o", "json")[1]) == []


if __name__ == "__main__":
    main([a_connection_cut_at_any_byte_loses_and_doubles_nothing, a_server_that_cuts_each_connection_is_read_to_the_end,
          tail_and_since_are_asked_for_once, a_quiet_follower_from_now_on_misses_nothing_of_an_outage,
          an_age_grows_while_the_connection_is_away, without_reconnect_a_lost_connection_is_an_error, refusals_are_one_clear_line,
          a_busy_server_is_asked_again_once_it_has_answered, a_server_that_shuts_down_is_waited_for,
          a_gap_is_told_once_although_it_comes_again, following_a_stopped_sandbox_prints_what_there_is,
          several_are_prefixed_and_never_mixed_within_a_line, one_unknown_of_several_does_not_stop_the_others,
          the_token_is_sent_and_never_said, nobody_there_is_said_with_the_address, a_reader_that_goes_away_ends_it_quietly,
          a_full_disk_is_an_error, ctrl_c_ends_it_with_130, bad_usage_is_one_line_and_2, pages_of_the_list_are_put_together])
