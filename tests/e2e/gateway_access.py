# SPDX-License-Identifier: Apache-2.0
"""Who may read what, in which form: tokens, origins, limits, compression, sizes, ambiguous and slow requests."""
import base64
import gzip
import hashlib
import hmac
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import time
import zlib

from harness import Source, Sse, System, WebSocket, line_bytes, main, skip, until

SECRET = b"a secret of at least sixteen bytes"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(claims, key=SECRET, header=None, sign=None):
    head = b64(json.dumps(header or {"alg": "HS256", "typ": "JWT"}).encode()) + "." + b64(json.dumps(claims).encode())
    mac = sign(head.encode()) if sign else hmac.new(key, head.encode(), hashlib.sha256).digest()
    return head + "." + b64(mac)


def grant(scope="read", sandboxes=("*",), ttl=3600, **more):
    return token(dict({"scope": scope, "sandboxes": list(sandboxes), "exp": int(time.time()) + ttl}, **more))


def system_with_key(*gateway):
    path = f"/tmp/sandlog-e2e-key-{os.getpid()}"
    with open(path, "wb") as f:
        f.write(SECRET + b"\n")
    return System(gateway=("--token-key", path) + gateway)


def raw(s, request, seconds=5):
    """All that comes back until the server closes; b"" when it just closed."""
    c = socket.create_connection(("127.0.0.1", s.port), timeout=seconds)
    c.sendall(request)
    data = b""
    try:
        while more := c.recv(65536):
            data += more
    except (ConnectionResetError, socket.timeout):
        pass
    c.close()
    return data


def a_token_reads_only_its_own_sandboxes():
    with system_with_key() as s:
        for name in ("mine", "theirs"):
            Source(s, name).write(3)
        bearer = lambda t: {"Authorization": "Bearer " + t}
        admin, mine = bearer(grant("admin")), bearer(grant("read", ["mine", "m-*"]))
        until(lambda: s.request("GET", "/v1/sandboxes/theirs", headers=admin)[0] == 200 and
              s.request("GET", "/v1/sandboxes/mine", headers=admin)[0] == 200, 10, "both are stored")
        assert s.request("GET", s.url("mine"), headers=mine)[0] == 200
        # every way to ask for another's is answered like one for a sandbox that is not there
        for method, path in (("GET", "{}"), ("GET", "{}/logs"), ("GET", "{}/logs?follow=1"), ("HEAD", "{}"), ("PUT", "{}"), ("DELETE", "{}")):
            for who in (mine, bearer(grant("read write", ["mine"])), bearer(grant("", ["mine"]))):
                answers = []
                for sandbox in ("theirs", "nobody"):
                    status, head, body = s.request(method, "/v1/sandboxes/" + path.format(sandbox), b"{}" if method == "PUT" else None, who)
                    answers.append((status, head.get("Content-Type"), body.replace(sandbox.encode(), b"?")))
                assert answers[0] == answers[1] and answers[0][0] in (403, 404), (method, path, answers)
        assert s.request("GET", s.url("theirs"), headers=mine)[0] == 404
        assert s.request("PUT", "/v1/sandboxes/mine", b"{}", mine)[0] == 403 and s.request("DELETE", "/v1/sandboxes/mine", headers=mine)[0] == 403
        assert s.request("PUT", "/v1/sandboxes/theirs", b"{}", bearer(grant("write", ["mine"])))[0] == 404
        listed = json.loads(s.request("GET", "/v1/sandboxes", headers=mine)[2])["sandboxes"]
        assert [x["id"] for x in listed] == ["mine"], listed
        ws = WebSocket(s.port, s.url("theirs"), headers=mine)
        assert ws.message() is None and ws.code == 4404, ws.code
        ws = WebSocket(s.port, s.url("mine"))
        assert ws.message() is None and ws.code == 4401, ws.code
        for path in ("/healthz", "/readyz", "/metrics", "/"):
            assert s.get(path)[0] == 200, path
        assert s.get("/status")[0] == 401 and s.request("GET", "/status", headers=mine)[0] == 403


def tokens_that_are_not_right_are_refused():
    with system_with_key() as s:
        now = int(time.time())
        claims = {"scope": "read", "sandboxes": ["*"], "exp": now + 600}
        good = token(claims)
        head, body, mac = good.split(".")
        for bad in ["", "x", "a.b.c", good[:-2], head + "." + body + ".", token(claims, b"another secret of some length"),
                    token(dict(claims, exp=now - 1)), token({"scope": "read", "sandboxes": ["*"]}), token(dict(claims, nbf=now + 60)),
                    token(claims, header={"alg": "none"}), token(claims, header={"alg": "none"}, sign=lambda _: b""),
                    token(claims, header={"alg": "HS512"}, sign=lambda m: hmac.new(SECRET, m, hashlib.sha512).digest()),
                    token(claims, header={"alg": "HS256", "crit": ["x"], "x": 1}),
                    token(dict(claims, sandboxes=[7])), token(dict(claims, sandboxes=["a"] * 65)), token(dict(claims, exp="soon")), "x" * 9000]:
            status, headers, answer = s.request("GET", "/v1/sandboxes", headers={"Authorization": "Bearer " + bad})
            assert status == 401 and headers["WWW-Authenticate"] == "Bearer", (bad[:80], status, answer)
        assert s.request("GET", "/v1/sandboxes", headers={"Authorization": "Bearer " + good})[0] == 200
        assert s.get("/v1/sandboxes?access_token=" + good)[0] == 200
        assert s.get("/v1/sandboxes?access_token=" + token(dict(claims, exp=now + 3600)))[0] == 401, "too long-lived for a URL"
        text = s.errors()
        assert good not in text and mac not in text and "access_token" not in text


def the_key_fixes_the_algorithm():
    with system_with_key() as s:
        folder = s.dir
        run = lambda *a, **k: subprocess.run(a, check=True, capture_output=True, **k).stdout
        run("openssl", "genrsa", "-out", f"{folder}/rsa.pem", "2048")
        public = run("openssl", "rsa", "-in", f"{folder}/rsa.pem", "-pubout")
        with open(f"{folder}/rsa.pub", "wb") as f:
            f.write(public)
        s.stop("gateway")
        s.extra["gateway"] = ["--token-key", f"{folder}/rsa.pub"]
        s.start("gateway")
        s.ready()
        claims = {"scope": "read", "sandboxes": ["*"], "exp": int(time.time()) + 600}
        rs256 = token(claims, header={"alg": "RS256", "typ": "JWT"},
                      sign=lambda m: run("openssl", "dgst", "-sha256", "-sign", f"{folder}/rsa.pem", input=m))
        confused = token(claims, key=public)
        assert s.request("GET", "/v1/sandboxes", headers={"Authorization": "Bearer " + rs256})[0] == 200
        assert s.request("GET", "/v1/sandboxes", headers={"Authorization": "Bearer " + confused})[0] == 401, \
            "a public key is not an HS256 secret"


def expiry_ends_a_stream():
    with system_with_key() as s:
        admin = {"Authorization": "Bearer " + grant("admin")}
        assert s.request("PUT", "/v1/sandboxes/box", b'{"state":"running"}', admin)[0] == 200
        short = {"Authorization": "Bearer " + grant(ttl=2)}
        sse = Sse(s.port, s.url("box", follow=1), headers=short, reconnect=False)
        ws = WebSocket(s.port, s.url("box"), headers=short)
        sse.wait_end(10)
        assert sse.ended["reason"] == "expired", sse.ended
        assert list(ws.objects())[-1]["reason"] == "expired"


def a_new_key_is_taken_without_a_restart():
    with system_with_key() as s:
        path = s.extra["gateway"][1]
        old = {"Authorization": "Bearer " + grant()}
        assert s.request("GET", "/v1/sandboxes", headers=old)[0] == 200
        with open(path, "wb") as f:
            f.write(b"another secret of sixteen bytes")
        s.process["gateway"].send_signal(signal.SIGHUP)
        until(lambda: s.request("GET", "/v1/sandboxes", headers=old)[0] == 401, 5, "the old key is void")


def pages_of_other_origins_read_nothing():
    with System(gateway=("--allow-origin", "https://logs.example")) as s:
        Source(s, "box").write(1)
        s.has("box", 1)
        own, good, bad = f"http://127.0.0.1:{s.port}", "https://logs.example", "https://evil.example"
        for origin, status in ((own, 101), (good, 101), (bad, 403), ("null", 403), (good + ".evil.example", 403)):
            ws = WebSocket(s.port, s.url("box"), headers={"Origin": origin})
            assert ws.status == status, (origin, ws.head)
        for origin, allowed in ((good, good), (bad, None), (None, None)):
            _, headers, _ = s.request("GET", s.url("box"), headers={"Origin": origin} if origin else {})
            assert headers.get("Access-Control-Allow-Origin") == allowed and headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cache-Control"] == "no-store" and "default-src 'none'" in headers["Content-Security-Policy"]
            assert headers["Vary"] == "Origin"
        status, headers, _ = s.request("OPTIONS", s.url("box"), headers={"Origin": good, "Access-Control-Request-Method": "GET"})
        assert status == 204 and "Last-Event-ID" in headers["Access-Control-Allow-Headers"], (status, headers.items())
        status, headers, _ = s.request("OPTIONS", s.url("box"), headers={"Origin": bad, "Access-Control-Request-Method": "GET"})
        assert "Access-Control-Allow-Origin" not in headers and "Access-Control-Allow-Headers" not in headers


def only_this_machines_names_are_answered_without_tokens():
    with System() as s:
        for host, status in (("localhost", 200), (f"127.0.0.1:{s.port}", 200), ("[::1]:1", 200), ("a.localhost", 200), ("evil.example", 403),
                             ("127.0.0.1.evil.example", 403), ("localhost.evil.example", 403)):
            answer = raw(s, f"GET /v1/sandboxes HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert answer.startswith(f"HTTP/1.1 {status} ".encode()), (host, answer[:80])


def followers_over_the_limit_are_told_to_come_later():
    with System(gateway=("--max-followers", "5", "--max-followers-per-token", "3")) as s:
        s.put("box", state="running")
        kept = [Sse(s.port, s.url("box", follow=1), reconnect=False) for _ in range(3)]
        until(lambda: all(k.status == 200 for k in kept), 5, "three follow")
        status, headers, body = s.get(s.url("box", follow=1, format="ndjson"))
        assert status == 429 and int(headers["Retry-After"]) >= 1 and json.loads(body)["type"].endswith("too-many-followers")
        status, headers, body = s.get(s.url("box", follow=1), Accept="text/event-stream")
        assert status == 200 and b"event: error\n" in body and b"retry: " in body and body.count(b"event:") == 1, (status, body)
        ws = WebSocket(s.port, s.url("box"))
        assert ws.message() is None and ws.code == 4429, ws.code
        assert s.get(s.url("box"))[0] == 200, "who does not follow is not limited"
        s.put("box", state="stopped")
        for k in kept:
            k.wait_end(15)
        s.put("box", state="running")
        again = Sse(s.port, s.url("box", follow=1), reconnect=False)
        until(lambda: again.status == 200, 5, "there is room again")


def gzip_is_flushed_with_every_batch():
    with System() as s:
        source = Source(s, "box")
        source.write(1000)
        s.has("box", 1000)
        status, headers, body = s.get(s.url("box"), Accept_Encoding="br, gzip;q=0.5")
        assert headers["Content-Encoding"] == "gzip" and gzip.decompress(body) == s.text("box") and len(body) < len(s.text("box")) * 0.8
        for accept in ("gzip;q=0", "br", "", "gzipped"):
            assert "Content-Encoding" not in s.get(s.url("box", tail=1), Accept_Encoding=accept)[1], accept
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=30)
        c.request("GET", s.url("box", follow=1, tail=5), headers={"Accept": "text/event-stream", "Accept-Encoding": "gzip"})
        r = c.getresponse()
        assert r.headers["Content-Encoding"] == "gzip"
        z, text = zlib.decompressobj(31), b""
        while text.count(b"event: log") < 5:
            text += z.decompress(r.read1(65536))
        source.write(1)
        while text.count(b"event: log") < 6:
            text += z.decompress(r.read1(65536))
        source.exit(0)
        while more := r.read1(65536):
            text += z.decompress(more)
        assert z.eof and text.rstrip().endswith(b'"lost":0}'), text[-200:]


def ambiguous_and_oversize_requests_are_refused():
    with System() as s:
        s.put("box", state="running")
        put = b"PUT /v1/sandboxes/box HTTP/1.1\r\nHost: localhost\r\n"
        for request, statuses in [
            (put + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", (400, 0)),
            (put + b"Content-Length: 2, 2\r\n\r\n{}", (400, 0)),
            (put + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", (400, 0)),
            (put + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", (400, 0)),
            (put + b"Content-Length: -1\r\n\r\n", (400, 0)), (put + b"Content-Length: 1x\r\n\r\n{", (400, 0)), (put + b"\r\n", (400, 0)),
            (put + b"Content-Length: 70000\r\n\r\n" + b" " * 70000, (413,)),
            (put + b"Content-Length: 99999999999\r\n\r\n", (413,)),
            (b"GET /healthz HTTP/1.1\r\n\r\n", (400, 0)),
            (b"GET /v1/sandboxes?x=" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (414,)),
            (b"GET /v1/sandboxes HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + b"a" * 17000 + b"\r\n\r\n", (431, 0)),
            (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(5000)) + b"\r\n", (431, 0)),
            (b"\0\1\2\3\r\n\r\n", (400, 403, 0)), (b"GET\r\n\r\n", (400, 403, 0)), (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100, (400, 403, 0)),
        ]:
            answer = raw(s, request, 2)
            status = int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.") else 0
            assert status in statuses and answer.count(b"HTTP/1.") <= 1, (request[:100], answer[:200])
        assert s.get("/healthz")[0] == 200


def odd_upgrades_are_left_alone_or_refused_in_words():
    """Java's client offers h2c with each request, and was answered 400."""
    with System() as s:
        Source(s, "box").write(1)
        s.has("box", 1)
        head = f"GET {s.url('box')} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n".encode()
        key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        for more, statuses in [(b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n", (200,)), (b"Upgrade: \r\n", (200,)),
                               (b"Upgrade: tls/1.0\r\n", (200,)), (b"Upgrade: websocket, h2c\r\n" + key, (200,)),
                               (b"Upgrade: websocket\r\n" + key + b"Sec-WebSocket-Protocol: other\r\n", (400,)),
                               (b"Upgrade: websocket\r\n" + key + b"Sec-WebSocket-Protocol: " + b"a" * 300 + b"\r\n", (400,)),
                               (b"Upgrade: websocket\r\n", (400,)),
                               (b"Upgrade: websocket\r\n" + key.replace(b": 13", b": 8"), (400,)),
                               (b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", (400,)),
                               (b"Upgrade: websocket\r\nSec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n", (400,))]:
            answer = raw(s, head + more + b"\r\n", 2)
            status = int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.") else 0
            assert status in statuses, (more, answer[:200])
            assert b"Upgrade: websocket\r" not in more or b"\r\nSec-WebSocket-Version: 13\r\n" in answer, (more, answer)
        answer = raw(s, head.replace(b"GET ", b"DELETE ") + b"Upgrade: websocket\r\n" + key + b"\r\n", 2)
        assert answer.startswith(b"HTTP/1.1 400 ") and b"opened with GET" in answer, answer
        ws = WebSocket(s.port, s.url("box"), protocol="other, sandlog.text.v1")
        assert ws.status == 101 and "sandlog.text.v1" in ws.head


def slow_requests_are_cut():
    with System() as s:
        begun = time.monotonic()
        silent = socket.create_connection(("127.0.0.1", s.port), timeout=20)
        half = socket.create_connection(("127.0.0.1", s.port), timeout=20)
        half.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        body = socket.create_connection(("127.0.0.1", s.port), timeout=20)
        body.sendall(b"PUT /v1/sandboxes/box HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        for c in (silent, half, body):
            try:
                assert c.recv(1000) == b""
            except ConnectionResetError:
                pass
        assert time.monotonic() - begun < 16


def tls_serves_the_same():
    with System() as s:
        cert, key = f"{s.dir}/cert.pem", f"{s.dir}/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert,
                        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
        source = Source(s, "box")
        source.write(2000)
        s.has("box", 2000)
        plain = s.text("box")
        s.stop("gateway")
        s.extra["gateway"] = ["--tls-cert", cert, "--tls-key", key]
        s.start("gateway")
        context = ssl.create_default_context(cafile=cert)

        def get(path, headers={}):
            c = http.client.HTTPSConnection("localhost", s.port, timeout=20, context=context)
            c.request("GET", path, headers=headers)
            return c.getresponse()

        def ready():
            try:
                return get("/readyz").status == 200
            except OSError:
                return False
        until(ready, 10, "ready over TLS")
        assert get(s.url("box")).read() == plain
        r = get(s.url("box", follow=1, tail=10), {"Accept": "text/event-stream"})
        text = b""
        while text.count(b"event: log") < 10:
            text += r.read1(65536)
        source.write(5)
        while text.count(b"event: log") < 15:
            text += r.read1(65536)
        # a key of another certificate at a reload: lws took the certificate and let go of the key, and nobody was served any more
        foreign, kept = f"{s.dir}/foreign.pem", open(cert).read()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", s.dir + "/foreign.key",
                        "-out", foreign, "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True)
        for broken, why in ((open(foreign).read(), "is not the key of --tls-cert"), ("junk", "holds no certificate")):
            with open(cert, "w") as f:
                f.write(broken)
            s.process["gateway"].send_signal(signal.SIGHUP)
            until(lambda: why in open(f"{s.dir}/gateway.err").read(), 10, "the reload is refused")
            assert get("/readyz").status == 200
        with open(cert, "w") as f:
            f.write(kept)
        old = socket.create_connection(("127.0.0.1", s.port), timeout=10)
        legacy = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        legacy.check_hostname, legacy.verify_mode, legacy.maximum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_1
        try:
            legacy.wrap_socket(old)
            raise AssertionError("TLS 1.1 was accepted")
        except (ssl.SSLError, OSError):
            pass


if __name__ == "__main__":
    main([a_token_reads_only_its_own_sandboxes, tokens_that_are_not_right_are_refused, the_key_fixes_the_algorithm, expiry_ends_a_stream,
          a_new_key_is_taken_without_a_restart, pages_of_other_origins_read_nothing, only_this_machines_names_are_answered_without_tokens,
          followers_over_the_limit_are_told_to_come_later, gzip_is_flushed_with_every_batch, ambiguous_and_oversize_requests_are_refused,
          odd_upgrades_are_left_alone_or_refused_in_words, slow_requests_are_cut, tls_serves_the_same])
