# SPDX-License-Identifier: Apache-2.0
"""Every parameter in every format against what the ledger says, and every bad input against one clear error."""
import base64
import json
import os
import subprocess
import time

from harness import BIN, Source, Sse, System, WebSocket, check, free_port, line_bytes, main, rfc3339, until


def parameters_compose_as_the_contract_says():
    with System() as s:
        source = Source(s, "box")
        source.write(5000)
        s.has("box", 5000)
        w = source.written
        text = lambda rows: b"".join(t + b"\n" for _, _, t in rows)
        out = [r for r in w if r[1] == "stdout"]
        err = [r for r in w if r[1] == "stderr"]
        all_lines = s.lines("box")
        check([source], all_lines)
        cursor = [o["cursor"] for o in all_lines]
        middle, late = w[2000][0], w[4000][0]
        for query, want in [
            ({}, w), ({"tail": "all"}, w), ({"tail": 0}, []), ({"tail": 1}, w[-1:]), ({"tail": 100}, w[-100:]), ({"n": 7}, w[-7:]),
            ({"tail_lines": 3}, w[-3:]), ({"tailLines": 3}, w[-3:]), ({"tail": 99999}, w),
            ({"stream": "stderr"}, err), ({"stream": "stdout", "tail": 100}, out[-100:]), ({"stream": "both", "tail": 5}, w[-5:]),
            ({"since": middle}, w[2000:]), ({"since_time": middle}, w[2000:]), ({"sinceTime": middle}, w[2000:]),
            ({"until": middle}, w[:2000]), ({"since": middle, "until": late}, w[2000:4000]), ({"since": late, "until": middle}, []),
            ({"since": middle, "tail": 10}, w[-10:]), ({"until": middle, "tail": 10}, w[1990:2000]),
            ({"since": "1h"}, w), ({"since": "2000-01-01T00:00:00Z"}, w), ({"since": str(time.time() + 3600)}, []),
            ({"after": cursor[99]}, w[100:]), ({"cursor": cursor[99], "limit": 10}, w[100:110]), ({"after": cursor[-1]}, []),
            ({"before": cursor[100]}, w[:100]), ({"before": cursor[100], "tail": 20}, w[80:100]), ({"before": cursor[0]}, []),
            ({"after": cursor[9], "before": cursor[20]}, w[10:20]),
            ({"limit": 10}, w[:10]), ({"limit": 10, "tail": 50}, w[-50:-40]), ({"stream": "stderr", "limit": 5}, err[:5]),
            ({"limit_bytes": len(text(w[:3]))}, w[:3]), ({"limit_bytes": len(text(w[:3])) - 1}, w[:2]),
            ({"container": "main", "tail": 2}, w[-2:]), ({"container": "other"}, []),
            ({"tail": 3, "unknown": "x"}, w[-3:]),
        ]:
            got = s.text("box", **query)
            assert got == text(want), f"{query}: {len(got)} bytes, not {len(text(want))}"
            objects = s.lines("box", **query)
            assert [line_bytes(o) for o in objects] == [t for _, _, t in want], f"ndjson {query}"
            sse = Sse(s.port, s.url("box", format="sse", data="json", **query), reconnect=False)
            sse.wait_end()
            assert [json.loads(d)["seq"] for _, _, d in sse.logs()] == [o["seq"] for o in objects], f"sse {query}"
            assert sse.ended["reason"] == ("limit" if "limit" in str(query) and len(want) and sse.ended["reason"] == "limit" else "complete"), \
                (query, sse.ended)
        got = s.get("/v1/sandboxes/box/logs?tail=1&tail=2")[2]
        assert got == text(w[-2:]), "of a repeated parameter the last counts"
        stamped = b"".join(f"{t} ".encode() + x + b"\n" for t, _, x in w[-50:])
        for name in ("timestamps", "t"):
            assert s.text("box", tail=50, **{name: 1}) == stamped
        assert s.get("/v1/sandboxes/box/logs?tail=50&timestamps")[2] == stamped, "the bare name is true"
        assert s.text("box", tail=50, timestamps="false") == text(w[-50:])
        status, headers, _ = s.get(s.url("box", tail=1))
        assert headers["Content-Type"].startswith("text/plain") and headers["Sandlog-Oldest"] == cursor[0] and headers["Sandlog-Newest"] == cursor[-1]
        assert s.get(s.url("box", tail=1), Accept="application/x-ndjson")[1]["Content-Type"].startswith("application/x-ndjson")
        assert s.get(s.url("box", tail=1), Accept="text/event-stream")[1]["Content-Type"].startswith("text/event-stream")
        # Last-Event-ID wins over after
        status, _, body = s.get(s.url("box", after=cursor[10], limit=1), **{"Last-Event-ID": cursor[20]})
        assert body == text(w[21:22])


def websocket_and_sse_follow_the_same_lines_live():
    with System() as s:
        source = Source(s, "live")
        source.write(500)
        s.has("live", 500)
        ws = WebSocket(s.port, s.url("live", tail=100))
        named = WebSocket(s.port, s.url("live", tail=100), protocol="sandlog.text.v1")
        assert ws.status == 101 and named.status == 101 and "sandlog.text.v1" in named.head
        sse = Sse(s.port, s.url("live", follow=1, tail=100))
        sse.wait(100)
        for _ in range(20):
            source.write(50)
        source.exit(3)
        sse.wait_end()
        want = [t for _, _, t in source.written[400:]]
        assert [d.encode() for _, _, d in sse.logs()] == want
        assert sse.ended == {"reason": "stopped", "exit_code": 3, "last_seq": 1500, "lost": 0}, sse.ended
        objects = list(ws.objects())
        assert [line_bytes(o) for o in objects if "event" not in o] == want and objects[-1]["event"] == "end"
        assert ws.code == 1000, ws.code
        received = b""
        while (m := named.message()) is not None:
            assert m[0] == 2, "binary frames"
            received += m[1]
        assert received == b"".join(t + b"\n" for t in want) and named.code == 1000
        # after the end: 409 for a new follow, the rest and `end` for a resumed one, 204 when nothing is left
        status, _, body = s.get(s.url("live", follow=1, format="text"))
        assert status == 409 and json.loads(body)["type"].endswith("sandbox-not-running"), (status, body)
        again = Sse(s.port, s.url("live", follow=1), headers={"Last-Event-ID": sse.logs()[-5][1]}, reconnect=False)
        again.wait_end()
        assert [d.encode() for _, _, d in again.logs()] == want[-4:]
        assert s.get(s.url("live", follow=1), Accept="text/event-stream", **{"Last-Event-ID": sse.last_id})[0] == 204
        info = s.info("live")
        assert info["state"] == "stopped" and info["exit_code"] == 3 and info["lines"] == 1500, info


def any_bytes_come_back_as_they_were_written():
    with System() as s:
        path = f"{s.logs}/soup/main.log"
        os.makedirs(os.path.dirname(path))
        soup = [b"", b"\0", b"a\rb\r", b"\xff\xfe", bytes(i for i in range(256) if i != 10), b"data: x", b": c", b"\xe2\x82",
                b"id: 7", b"x" * 5_000_000, "ünïcödé €".encode(), b" leading", b"trailing ", b"\x1b[31mred\x1b[0m"]
        now = time.time_ns()
        with open(path, "wb") as f:
            for i, t in enumerate(soup):
                f.write(rfc3339(now + i).encode() + b" stdout F " + t + b"\n")
        until(lambda: (s.info("soup") or {}).get("bytes") == sum(len(t) + 1 for t in soup), 30, "soup stored")
        assert s.text("soup") == b"".join(t + b"\n" for t in soup)
        joined, have = [], b""
        for o in s.lines("soup"):
            have += line_bytes(o)
            if not o.get("partial"):
                joined.append(have)
                have = b""
        assert joined == soup and have == b""
        sse = Sse(s.port, s.url("soup", format="sse", data="json"), reconnect=False)
        sse.wait_end()
        assert b"".join(line_bytes(json.loads(d)) + (b"" if json.loads(d).get("partial") else b"\n") for _, _, d in sse.logs()) == s.text("soup")


def a_malformed_record_is_kept_whole():
    with System() as s:
        path = f"{s.logs}/bad/main.log"
        os.makedirs(os.path.dirname(path))
        with open(path, "wb") as f:
            f.write(b"not a cri record\n" + rfc3339(time.time_ns()).encode() + b" stdout F good\n" + b"2026-13-45T00:00:00Z stdout F x\n\n")
        s.has("bad", 4)
        assert s.text("bad") == b"not a cri record\ngood\n2026-13-45T00:00:00Z stdout F x\n\n"


def each_bad_request_gets_one_clear_error():
    with System() as s:
        Source(s, "box").write(10)
        s.has("box", 10)
        cursor = s.lines("box")[0]["cursor"]
        Source(s, "other").write(1)
        s.has("other", 1)
        foreign = s.lines("other")[0]["cursor"]
        for path, status, code, parameter in [
            ("/v1/sandboxes/a%2Fb/logs", 400, "invalid-parameter", None), ("/v1/sandboxes/%2E%2E%2Fbox/logs", (400, 404), None, None),
            ("/v1/sandboxes/a%20b/logs", 400, "invalid-parameter", None), ("/v1/sandboxes/" + "a" * 129 + "/logs", 400, "invalid-parameter", None),
            ("/v1/sandboxes/nobody/logs", 404, "sandbox-not-found", None), ("/v1/sandboxes/nobody", 404, "sandbox-not-found", None),
            ("/v1/sandboxes/box/logs?tail=-1", 400, "invalid-parameter", "tail"), ("/v1/sandboxes/box/logs?tail=ten", 400, "invalid-parameter", "tail"),
            ("/v1/sandboxes/box/logs?since=yesterday", 400, "invalid-parameter", "since"), ("/v1/sandboxes/box/logs?until=25:00", 400, "invalid-parameter", "until"),
            ("/v1/sandboxes/box/logs?after=rubbish", 400, "invalid-parameter", "after"), ("/v1/sandboxes/box/logs?after=" + foreign, 400, "invalid-parameter", "after"),
            ("/v1/sandboxes/box/logs?stream=stdin", 400, "invalid-parameter", "stream"), ("/v1/sandboxes/box/logs?format=xml", 400, "invalid-parameter", "format"),
            ("/v1/sandboxes/box/logs?limit=-5", 400, "invalid-parameter", "limit"), ("/v1/sandboxes/box/logs?follow=maybe", 400, "invalid-parameter", "follow"),
            ("/v1/nothing", 404, None, None), ("/v1/sandboxes?limit=0", 400, "invalid-parameter", "limit"),
        ]:
            got, headers, body = s.get(path)
            assert got == status or got in (status if isinstance(status, tuple) else ()), (path, got, body)
            assert headers["Content-Type"].startswith("application/problem+json"), (path, headers.items())
            problem = json.loads(body)
            assert problem["status"] == got and problem["detail"] and problem["title"], problem
            assert code is None or problem["type"].endswith(code), problem
            assert parameter is None or problem["parameter"] == parameter, problem
        gone = "00000000" + cursor[8:] if not cursor.startswith("00000000") else "00000001" + cursor[8:]
        got, _, body = s.get("/v1/sandboxes/box/logs?after=" + gone)
        assert got == 410 and json.loads(body)["type"].endswith("cursor-expired"), (got, body)
        for method in ("POST", "PATCH"):
            got, headers, body = s.request(method, "/v1/sandboxes/box/logs", b"")
            assert got == 405 and "GET" in headers["Allow"], (method, got, headers.items())
        for body in (b"{", b"[]", b'{"state":"flying"}', b'{"exit_code":"x"}', b'{"labels":[1]}'):
            got, headers, answer = s.request("PUT", "/v1/sandboxes/box", body)
            assert got == 400 and json.loads(answer)["type"].endswith("invalid-parameter"), (body, got, answer)
        ws = WebSocket(s.port, "/v1/sandboxes/nobody/logs")
        assert ws.status == 101 and ws.message() is None and ws.code == 4404, (ws.status, ws.code)
        ws = WebSocket(s.port, "/v1/sandboxes/box/logs?tail=x")
        assert ws.message() is None and ws.code == 4400, ws.code
        assert s.text("box").count(b"\n") == 10, "nothing of this harmed the log"


def sandboxes_are_listed_and_told_what_the_control_plane_knows():
    with System() as s:
        for i in range(25):
            s.put(f"put-{i:02d}", state="running", labels={"team": "a" if i % 2 else "b"})
        Source(s, "logged").write(3)
        s.has("logged", 3)
        first = s.json("/v1/sandboxes?limit=10")
        assert len(first["sandboxes"]) == 10 and first["sandboxes"][0]["id"] == "logged" and first["next_page"], first
        ids, page = [x["id"] for x in first["sandboxes"]], first["next_page"]
        while page:
            more = s.json("/v1/sandboxes?limit=10&page=" + page)
            ids += [x["id"] for x in more["sandboxes"]]
            page = more.get("next_page")
        assert ids == ["logged"] + [f"put-{i:02d}" for i in reversed(range(25))], ids
        assert len(s.json("/v1/sandboxes?prefix=put-1")["sandboxes"]) == 10
        assert len(s.json("/v1/sandboxes?label=team%3Da")["sandboxes"]) == 12
        s.put("put-03", state="stopped", exit_code=137)
        until(lambda: s.info("put-03")["state"] == "stopped", 10, "stopped without a collector that knows it")
        assert s.info("put-03")["exit_code"] == 137
        assert [x["id"] for x in s.json("/v1/sandboxes?state=stopped")["sandboxes"]] == ["put-03"]
        info = s.info("logged")
        assert info["lines"] == 3 and info["bytes"] == len(s.text("logged")) and info["first_cursor"] == s.lines("logged")[0]["cursor"], info
        assert info["last_cursor"] == s.lines("logged")[-1]["cursor"] and info["state"] == "running" and info["host"], info
        s.put("logged", state="stopped", exit_code=1)
        until(lambda: s.info("logged")["state"] == "stopped", 10, "drained and stopped")
        status, _, _ = s.request("DELETE", "/v1/sandboxes/logged")
        assert status in (200, 204) and s.get(s.url("logged"))[0] == 404


def daemons_say_what_keeps_them_from_starting():
    with System() as s:
        def fails(args, *words):
            p = subprocess.run(args, capture_output=True, text=True, timeout=30)
            assert p.returncode in (1, 2), (args, p.returncode, p.stderr)
            line = p.stderr.strip()
            assert "\n" not in line and all(w in line for w in words), (args, line)
            return p.returncode
        gateway, broker, collector = (os.path.join(BIN, "sandlog-" + n) for n in ("gateway", "broker", "collector"))
        assert fails([gateway, "--listen", f"127.0.0.1:{s.port}", "--broker", f"ipc://{s.dir}/query.sock"], str(s.port)) == 1
        other = ["--ingest", f"ipc://{s.dir}/i2.sock", "--query", f"ipc://{s.dir}/q2.sock", "--http", "127.0.0.1:0"]
        if not s.redis:  # any number of brokers share a Redis
            assert fails([broker, "--data", f"{s.dir}/data"] + other, f"{s.dir}/data") == 1
        open(f"{s.dir}/file", "w").close()
        assert fails([broker, "--data", f"{s.dir}/file/x"] + other, f"{s.dir}/file/x") == 1
        assert fails([broker, "--data", f"{s.dir}/d2", "--ingest", f"tcp://127.0.0.1:{s.port}", "--query", f"ipc://{s.dir}/q2.sock",
                      "--http", "127.0.0.1:0"], str(s.port)) == 1
        assert fails([broker, "--nonsense"], "--nonsense") == 2
        assert fails([broker, "--memory", "apples"], "--memory", "apples") == 2
        assert fails([collector, "--watch", "xml:/tmp/{sandbox}"], "xml") == 2
        assert fails([collector, "--watch", "cri:/tmp/x.log"], "{sandbox}") == 2
        assert fails([gateway, "--listen", "nowhere"], "--listen", "nowhere") == 2
        assert fails([gateway, "--listen", f"0.0.0.0:{free_port()}", "--broker", f"ipc://{s.dir}/query.sock"], "--insecure-no-auth") in (1, 2)
        for name in ("gateway", "collector", "broker"):
            assert s.stop(name) == 0, name


def pages_for_operators_answer():
    with System() as s:
        Source(s, "canary-id").write(100)
        s.has("canary-id", 100)
        for port, daemon in ((s.port, "gateway"), (s.broker_port, "broker"), (s.collector_port, "collector")):
            assert s.request("GET", "/healthz", port=port)[0] == 200 and s.request("GET", "/readyz", port=port)[0] == 200
            status, headers, body = s.request("GET", "/metrics", port=port)
            assert status == 200 and headers["Content-Type"].startswith("text/plain"), headers.items()
            text = body.decode()
            assert f"\nsandlog_{daemon}_" in "\n" + text and "_bucket{" in text and "canary-id" not in text, text[:500]
        s.kill("broker")
        until(lambda: not s.probe(s.port), 10, "the gateway is not ready without a broker")
        assert "broker" in s.request("GET", "/readyz")[2].decode() and s.probe(s.port, "/healthz")


if __name__ == "__main__":
    main([parameters_compose_as_the_contract_says, websocket_and_sse_follow_the_same_lines_live,
          any_bytes_come_back_as_they_were_written, a_malformed_record_is_kept_whole, each_bad_request_gets_one_clear_error,
          sandboxes_are_listed_and_told_what_the_control_plane_knows, daemons_say_what_keeps_them_from_starting,
          pages_for_operators_answer])
