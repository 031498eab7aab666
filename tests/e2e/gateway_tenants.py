# SPDX-License-Identifier: Apache-2.0
"""One tenant and another, over every route and verb there is: what a token may not see is, byte for byte, what is not there. And what is
secret stays out of our own logs: canaries in tokens, queries, headers, ids of others, labels and lines, at the highest verbosity."""
import http.client
import json
import os
import signal
import urllib.parse

from gateway_access import SECRET, grant, raw, token
from gateway_openapi import operations
from harness import Source, Sse, System, WebSocket, main, until

# Two ids of one length: one that is there and is another's, one that is not there.
THERE, NOWHERE = "theirs-is-there", "theirs-is-nowhe"
# What the clients of others ask, of a container or a pod.
DIALECTS = ["/containers/{id}/json", "/containers/{id}/logs?stdout=1&stderr=1", "/containers/{id}/logs?stdout=1&follow=1", "/v1.41/containers/{id}/json",
            "/v1.41/containers/{id}/logs?stdout=1&tail=1", "/containers/json?all=1", "/api/v1/namespaces/default/pods/{id}",
            "/api/v1/namespaces/default/pods/{id}/log", "/api/v1/namespaces/default/pods/{id}/log?follow=true", "/api/v1/namespaces/default/pods", "/api/v1/pods"]
QUERIES = ["", "?follow=1", "?format=ndjson&follow=1&wait=1", "?tail=x", "?after=x", "?after={cursor}", "?before={cursor}&tail=2", "?regex=(", "?format=sse",
           "?follow=1&timestamps"]


def key_file(s):
    path = f"{s.dir}/key"
    with open(path, "wb") as f:
        f.write(SECRET + b"\n")
    return path


def guarded(*gateway, **more):
    s = System(start=False, **more)
    s.extra["gateway"] = ["--token-key", key_file(s), *gateway]
    for name in ("broker", "gateway", "collector"):
        s.start(name)
    s.ready()
    return s


def bearer(text):
    return {"Authorization": "Bearer " + text}


def filled(s):
    """A sandbox of mine and one of theirs, with lines; a cursor of theirs."""
    admin = bearer(grant("admin"))
    for name in ("mine-1", THERE):
        Source(s, name).write(5)
    until(lambda: all(s.request("GET", "/v1/sandboxes/" + name, headers=admin)[0] == 200 for name in ("mine-1", THERE)), 10, "stored")
    for name in ("mine-1", THERE):
        assert s.request("PUT", "/v1/sandboxes/" + name, json.dumps({"labels": {"tier": "web"}}), admin)[0] == 200
    return json.loads(s.request("GET", "/v1/sandboxes/" + THERE, headers=admin)[2])["last_cursor"]


def answer(s, method, path, headers, body=None, name=""):
    """Everything that came back but the time of day, the id put out of it; a stream is read for what it has at once."""
    c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=20)
    c.request(method, path, body, headers)
    r = c.getresponse()
    data = r.read()
    c.close()
    shown = lambda text: text.replace(name, "?").replace(name[:4], "?") if name else text
    return r.status, sorted((k, shown(v)) for k, v in r.getheaders() if k != "Date"), shown(data.decode())


def pairs(paths):
    for path in paths:
        yield path.replace("{id}", THERE), path.replace("{id}", NOWHERE)


def anothers_sandbox_is_exactly_like_one_that_is_not_there():
    with guarded() as s:
        cursor = filled(s)
        described = [path for path, method, _, _ in operations() if "{id}" in path and method == "get"]
        paths = [path + query.replace("{cursor}", cursor) for path in described for query in QUERIES] + DIALECTS
        paths += ["/v1/logs?sandbox={id}", "/v1/logs?sandbox={id}&follow=1", "/v1/logs?sandbox=mine-1&sandbox={id}&format=ndjson",
                  "/v1/logs?sandbox={id}&after=" + cursor, "/v1/logs?sandbox=mine-1&after=x", "/v1/sandboxes?prefix={id}", "/v1/export/{id}", "/v1/export",
                  "/v1/export/{id}?follow=1"]
        tokens = {"read": grant("read", ["mine-*"]), "read write": grant("read write", ["mine-*", "*-mine"]), "nothing": grant("", ["mine-*"]),
                  "no sandbox": grant("read write", []), "their prefix": grant("read write", ["theirs", "theirs-is-ther?x", "Theirs*"])}
        count, seen = 0, set()
        for who, text in tokens.items():
            for method in ("GET", "HEAD", "PUT", "DELETE", "POST", "OPTIONS"):
                for there, nowhere in pairs(paths):
                    body = b'{"state":"stopped"}' if method in ("PUT", "POST") else None
                    for _ in range(3):  # "Up 1 second": the clock may go on between the two
                        both = [answer(s, method, path, bearer(text), body, name) for path, name in ((there, THERE), (nowhere, NOWHERE))]
                        if both[0] == both[1]:
                            break
                    assert both[0] == both[1], (who, method, there, both)
                    assert "?/main" not in both[0][2], (who, method, there, both[0])
                    seen.add(both[0][0])
                    count += 1
        assert {400, 403, 404, 405} <= seen, seen
        print(f"   {count} requests alike, with the statuses {sorted(seen)}")
        admin = bearer(grant("admin"))
        info = json.loads(s.request("GET", "/v1/sandboxes/" + THERE, headers=admin)[2])
        assert info["state"] == "running" and info["lines"] == 5, "and nothing was done to it"
        assert s.request("GET", "/v1/sandboxes/" + NOWHERE, headers=admin)[0] == 404, "nor was the other one made"


def as_a_websocket_too():
    with guarded() as s:
        cursor = filled(s)
        for text in (grant("read", ["mine-*"]), grant("", ["mine-*"]), grant("read write", [])):
            for path in ("/v1/sandboxes/{id}/logs", "/v1/sandboxes/{id}/logs?tail=x", "/v1/sandboxes/{id}/logs?wait=1", "/v1/logs?sandbox={id}",
                         "/v1/logs?sandbox=mine-1&sandbox={id}", "/v1/sandboxes/{id}/logs?after=" + cursor, "/v1/sandboxes/{id}"):
                both = []
                for name in (THERE, NOWHERE):
                    ws = WebSocket(s.port, path.replace("{id}", name), headers=bearer(text))
                    assert ws.message() is None, path
                    both.append((ws.status, ws.code, (ws.reason or "").replace(name, "?")))
                    ws.close()
                assert both[0] == both[1] and both[0][1] in (4403, 4404), (path, both)


def lists_and_labels_hold_ones_own_alone():
    with guarded() as s:
        filled(s)
        mine = bearer(grant("read", ["mine-*"]))
        for path in ("/v1/sandboxes", "/v1/sandboxes?label=tier%3Dweb", "/v1/sandboxes?prefix=t", "/v1/sandboxes?limit=1", "/containers/json?all=1", "/api/v1/pods",
                     "/v1/logs?label=tier%3Dweb&format=ndjson"):
            status, _, body = s.request("GET", path, headers=mine)
            assert status in (200, 404) and b"theirs" not in body, (path, body)
        status, _, body = s.request("GET", "/v1/logs?label=tier%3Dweb&format=ndjson", headers=mine)
        assert status == 200 and body.count(b'"seq"') == 5, body
        # A follower by label is not joined by another's that comes to match.
        sse = Sse(s.port, "/v1/logs?label=tier%3Dweb&follow=1", headers=mine)
        sse.wait(5)
        Source(s, "mine-2").write(1)
        Source(s, "theirs-2").write(1)
        admin = bearer(grant("admin"))
        for name in ("theirs-2", "mine-2"):
            until(lambda: s.request("GET", "/v1/sandboxes/" + name, headers=admin)[0] == 200, 10, "stored")
            assert s.request("PUT", "/v1/sandboxes/" + name, '{"labels":{"tier":"web"}}', admin)[0] == 200
        sse.wait(6)
        assert {json.loads(data)["sandbox"] for _, _, data in sse.logs()} == {"mine-1", "mine-2"}
        sse.close()


def our_own_logs_hold_no_secret_and_no_text():
    canary = lambda where: f"canary{where}x7Qz"
    verbose = ["--log-level", "debug"]
    s = System(start=False, broker=verbose, collector=verbose)
    with s:
        secret = f"{s.dir}/secret"
        with open(secret, "w") as f:
            f.write(canary("secret") + "\n")
        s.extra["gateway"] = verbose + ["--token-key", key_file(s), "--secret", secret, "--allow-origin", "https://good.example"]
        for name in ("broker", "collector"):
            s.extra[name] += ["--secret", secret]
        for name in ("broker", "gateway", "collector"):
            s.start(name)
        s.ready()
        source = Source(s, "box")
        text = f"{canary('line')} password=hunter2"
        source.file.write(b"2026-01-01T00:00:00.000000000Z stdout F " + text.encode() + b"\n" + canary("malformed").encode() + b"\n")
        admin = bearer(grant("admin"))
        until(lambda: s.request("GET", "/v1/sandboxes/box", headers=admin)[0] == 200, 10, "stored")
        assert s.request("PUT", "/v1/sandboxes/box", json.dumps({"labels": {"k": canary("label"), canary("key"): "v"}}), admin)[0] == 200
        good = grant("admin", jti=canary("claim"))
        for headers in (bearer(good), bearer(good + canary("token")), bearer(canary("token")), {"Authorization": canary("scheme") + " x"},
                        {"Authorization": "Bearer " + token({"exp": 1, "scope": "read"}, key=b"x" * 20)}):
            for path in ("/v1/sandboxes/box/logs?grep=" + canary("grep"), "/v1/sandboxes/box/logs?regex=(" + canary("regex"), "/v1/sandboxes/" + canary("id"),
                         "/v1/sandboxes/box/logs?after=" + canary("cursor"), "/v1/logs?label=k%3D" + canary("label"), "/" + canary("path"),
                         "/v1/sandboxes?access_token=" + canary("url"), "/containers/" + canary("docker") + "/logs", "/v1/export/" + canary("consumer")):
                for method in ("GET", "PUT", "DELETE"):
                    s.request(method, path, canary("body") if method == "PUT" else None,
                              dict(headers, **{"Last-Event-ID": canary("event"), "Origin": "https://" + canary("origin") + ".example", "Cookie": canary("cookie"),
                                               "User-Agent": canary("agent"), "X-Odd": canary("header")}))
        for query in ("?access_token=" + canary("socket"), "?grep=" + canary("socketgrep")):
            ws = WebSocket(s.port, "/v1/sandboxes/box/logs" + query, protocol=None, headers={"Cookie": canary("cookie")})
            ws.message()
            ws.close()
        for request in (b"GET /" + canary("raw").encode() + b"\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n", canary("garbage").encode() + b"\r\n\r\n",
                        b"GET / HTTP/1.1\r\nHost: " + canary("host").encode() + b"\r\nContent-Length: x\r\n\r\n"):
            raw(s, request, 2)
        for name in ("broker", "gateway", "collector"):
            s.process[name].send_signal(signal.SIGHUP)
        until(lambda: all("event=reload" in open(f"{s.dir}/{name}.err").read() for name in s.process), 10, "reloaded")
        # What an operator is shown holds no secrets either.
        for port, headers in ((s.port, admin), (s.broker_port, {}), (s.collector_port, {})):
            for path in ("/status", "/metrics"):
                shown = s.request("GET", path, headers=headers, port=port)[2]
                assert b"canary" not in shown and SECRET not in shown, (path, shown[:300])
        s.kill("broker")
        until(lambda: s.request("GET", "/readyz")[0] == 503, 10, "the gateway has seen it go")
        s.request("GET", "/v1/sandboxes/box/logs?grep=" + canary("away"), headers=admin)
        for name in list(s.process):
            assert s.stop(name) == 0
        for name in ("broker", "gateway", "collector"):
            with open(f"{s.dir}/{name}.err") as f:
                log = f.read()
            assert log, name
            for word in ("canary", "hunter2", SECRET.decode(), good, good.split(".")[2], "access_token", "Bearer", "grep="):
                assert word not in log, (name, word, [line for line in log.splitlines() if word in line][:3])


if __name__ == "__main__":
    main([anothers_sandbox_is_exactly_like_one_that_is_not_there, as_a_websocket_too, lists_and_labels_hold_ones_own_alone,
          our_own_logs_hold_no_secret_and_no_text])
