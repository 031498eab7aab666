# SPDX-License-Identifier: Apache-2.0
"""Requests that can be read in two ways, that never end, that are too large: answered with a problem or cut within 10 s, plain and
over TLS, first on a connection and later ones; and WebSocket frames that RFC 6455 does not allow."""
import base64
import json
import os
import socket
import ssl
import struct
import subprocess
import threading
import time

from harness import PATIENCE, Source, System, main, until

OK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
PUT = b'PUT /v1/sandboxes/row HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n{"state":"running"}'

# (what, bytes, status)
AMBIGUOUS = [
    ("two Content-Lengths", b"PUT /v1/sandboxes/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x", 400),
    ("the same length twice", b"PUT /v1/sandboxes/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    ("a list of lengths", b"PUT /v1/sandboxes/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2, 2\r\n\r\n{}", 400),
    ("a signed length", b"PUT /v1/sandboxes/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: +2\r\n\r\n{}", 400),
    ("chunks and a length", b"PUT /v1/sandboxes/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", 400),
    ("bad chunks", b"PUT /v1/sandboxes/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", 400),
    ("a bare LF", b"GET /healthz HTTP/1.1\nHost: localhost\r\n\r\n", 400),
    ("a bare LF at a header", b"GET /healthz HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n", 400),
    ("a bare LF at the end", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\n", 400),
    ("a bare CR", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\rY: b\r\n\r\n", 400),
    ("no Host", b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    ("two Hosts", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
    ("a Host with a path", b"GET /healthz HTTP/1.1\r\nHost: localhost/x\r\n\r\n", 400),
    ("a folded header", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n", 400),
    ("a space before the colon", b"GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
    ("no colon", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nnonsense\r\n\r\n", 400),
    ("NUL in a header", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n", 400),
    ("NUL in the path", b"GET /heal\0thz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("%00 in the path", b"GET /v1/sandboxes/a%00b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("a bad escape", b"GET /v1/sandboxes/a%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("half an escape", b"GET /v1/sandboxes/a%4 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("an absolute target", b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("two spaces", b"GET  /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("HTTP/0.9", b"GET /healthz\r\n\r\n", 400),
    ("1.0 without Host", b"GET /healthz HTTP/1.0\r\n\r\n", 400),
    ("another version", b"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
    ("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 501),
    ("an unknown method", b"BREW /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 501),
    ("a method in lower case", b"get /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 501),
    ("CONNECT", b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    ("TRACE", b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    ("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400),
    ("9 KiB of target", b"GET /healthz?" + b"a" * 9216 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
    ("100 KiB of target", b"GET /healthz?" + b"a" * 102400 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
    ("20 KiB in a header", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20480 + b"\r\n\r\n", 431),
    ("2,000 headers", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 2000 + b"\r\n", 431),
    ("1 MiB of headers", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + (b"A: " + b"b" * 1000 + b"\r\n") * 1000 + b"\r\n", 431),
]


def certificate(s):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost", "-keyout",
                    s.dir + "/key.pem", "-out", s.dir + "/cert.pem"], check=True, capture_output=True)
    s.stop("gateway")
    s.extra["gateway"] = list(s.extra.get("gateway", [])) + ["--tls-cert", s.dir + "/cert.pem", "--tls-key", s.dir + "/key.pem"]


def dial(s, tls=False, timeout=15):
    c = socket.create_connection(("127.0.0.1", s.port), timeout=timeout * PATIENCE)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        c = context.wrap_socket(c)
    return c


waiting = {}  # what a connection has sent behind the answer that was read


def answer(c):
    """(status, head, body) of the next answer; body by its Content-Length."""
    data = waiting.pop(c, b"")
    while b"\r\n\r\n" not in data:
        more = c.recv(65536)
        assert more, ("cut", data)
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        more = c.recv(65536)
        assert more, ("cut", data)
        body += more
    waiting[c] = body[length:]
    return int(head.split()[1]), head, body[:length]


def is_refused(c, what, status):
    got, head, body = answer(c)
    assert got == status, (what, got, head, body)
    assert b"application/problem+json" in head and json.loads(body)["status"] == status, (what, head, body)
    rest = waiting.pop(c, b"")
    try:
        rest = rest or c.recv(65536)
    except ssl.SSLError:
        pass
    assert rest == b"", (what, "something was served behind it", rest[:200])
    c.close()


def refuses_all(s, tls):
    for what, data, status in AMBIGUOUS:
        c = dial(s, tls)
        c.sendall(data)
        is_refused(c, what, status)
        # later on a connection, and with a good request behind it that must not be served
        c = dial(s, tls)
        for _ in range(2):
            c.sendall(OK)
            assert answer(c)[0] == 200, what
        c.sendall(data + OK)
        is_refused(c, what + ", third on its connection", status)
        # in one write with one that is good; over TLS nothing may stand behind a request in its record
        c = dial(s, tls)
        c.sendall(OK + data)
        good = answer(c)
        assert good[::2] == (200, b"ok\n"), what
        if not tls:
            is_refused(c, what + ", behind a good one", status)
        else:
            assert b"\r\nConnection: close" in good[1] and c.recv(65536) == b"", what
    for what, data, status in AMBIGUOUS[:20]:  # byte by byte: nothing depends on how it is cut
        c = dial(s, tls)
        try:
            for i in range(len(data)):
                c.sendall(data[i:i + 1])
        except OSError:
            pass
        is_refused(c, what + ", byte by byte", status)


def ambiguous_requests_are_refused_wherever_they_stand():
    with System() as s:
        refuses_all(s, tls=False)
        assert s.info("x") is None
        assert s.get("/healthz")[0] == 200


def over_tls_they_are_refused_as_well():
    with System() as s:
        certificate(s)
        s.start("gateway")
        c = None
        def up():
            try:
                c = dial(s, tls=True)
                c.sendall(OK)
                return answer(c)[0] == 200
            except OSError:
                return False
        until(up, 20, "TLS is served")
        refuses_all(s, tls=True)
        # a head over several records, and bodies with their heads and without
        c = dial(s, tls=True)
        for part in (OK[:5], OK[5:20], OK[20:-1], OK[-1:]):
            c.sendall(part)
        assert answer(c)[::2] == (200, b"ok\n")
        for cut in (0, 10, len(PUT) - 5):
            if cut:
                c.sendall(PUT[:cut])
            c.sendall(PUT[cut:])
            assert answer(c)[0] in (200, 201), cut
        big = b"PUT /v1/sandboxes/big HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n" + b'{"state":"running"}' + b" " * 59981
        c.sendall(big)
        assert answer(c)[0] in (200, 201)
        is_asked_for_a_body(s, tls=True)


def is_asked_for_a_body(s, tls):
    """Who expects 100 Continue sends no body before it; one that is too large is refused instead."""
    head, body = PUT.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n").split(b"{")
    c = dial(s, tls)
    for _ in range(2):
        c.sendall(head)
        assert answer(c)[0] == 100
        c.sendall(b"{" + body)
        assert answer(c)[0] in (200, 201)
    c.sendall(head.replace(b": 19", b": 900000"))
    assert answer(c)[0] == 413


def what_is_odd_but_clear_is_served():
    with System() as s:
        for what, data in [
            ("empty lines in front", b"\r\n\r\n" + OK), ("HTTP/1.0", b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n"),
            ("no space behind a colon", b"GET /healthz HTTP/1.1\r\nHost:localhost\r\n\r\n"),
            ("an empty header", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX:\r\n\r\n"),
            ("bytes beyond ASCII", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: \xc3\xa4\xff\r\n\r\n"),
            ("8 KiB of target", b"GET /healthz?" + b"a" * 8000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            ("15 KiB of headers", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 15000 + b"\r\n\r\n"),
        ]:
            c = dial(s)
            c.sendall(data)
            assert answer(c)[0] == 200, what
            c = dial(s)
            for i in range(0, len(data), 997):
                c.sendall(data[i:i + 997])
            assert answer(c)[0] == 200, what + ", in pieces"
        # many in a row, with bodies between
        c = dial(s)
        c.sendall((PUT + OK) * 10)
        for i in range(10):
            assert answer(c)[0] in (200, 201), i
            assert answer(c)[2] == b"ok\n", i
        is_asked_for_a_body(s, tls=False)


def every_parameter_counts_or_all_are_refused():
    """libwebsockets kept about 90 of a query's parameters and dropped the rest without a word: `tail=1` behind them gave the whole log."""
    with System() as s:
        Source(s, "box").write(9)
        s.has("box", 9)
        box = s.url("box", format="ndjson")
        for many in (10, 100, 400):
            status, _, body = s.get(box + "".join(f"&x{i}={i}" for i in range(many)) + "&tail=1")
            assert (status, body.count(b"\n")) == (200, 1), (many, status, body)
        status, _, body = s.get("/v1/logs?" + "&".join(["sandbox=box"] * 200) + "&sandbox=none")
        assert status == 404, (status, body)
        status, _, body = s.get(box + "&x" * 500)
        assert status == 414 and b"500 parameters" in body, (status, body)
        assert s.get(box + "&x;tail=1")[2].count(b"\n") == 9, "only & separates"
        assert s.get(box + "&tail=1&a%3Dtail=5")[2].count(b"\n") == 1, "names are decoded, then compared"


def options_names_what_a_path_takes():
    with System() as s:
        for path, want in (("/v1/sandboxes/box/logs", "GET, HEAD"), ("/v1/sandboxes/box", "GET, HEAD, PUT, DELETE"), ("/v1/export/c/ack", "POST"),
                           ("/healthz", "GET, HEAD"), ("/containers/json", "GET, HEAD")):
            status, headers, _ = s.request("OPTIONS", path)
            assert (status, headers["Allow"]) == (204, want + ", OPTIONS"), (path, status, headers["Allow"])
        assert s.request("OPTIONS", "/none")[0] == 404


def requests_that_never_end_are_cut_within_10_seconds():
    drips = [b"", b"G", OK[:-2], b"PUT /v1/sandboxes/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"]
    with System() as s:
        took = {}

        def drip(i, begin, again):
            c = dial(s, timeout=30)
            c.sendall((OK if again else b"") + begin)
            start = time.monotonic()
            if again:
                answer(c)
            c.settimeout(0.5)
            while time.monotonic() - start < 20 * PATIENCE:
                try:
                    if begin:
                        c.sendall(b"x")  # a byte every half second
                    if not c.recv(65536):
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            took[i, again] = time.monotonic() - start
        threads = [threading.Thread(target=drip, args=(i, d, again)) for i, d in enumerate(drips) for again in (False, True) if d or not again]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        # ten seconds, looked at each second; the rest is for a machine with other work
        assert len(took) == 7 and max(took.values()) < 14 * PATIENCE, took
        assert s.get("/healthz")[0] == 200


class Raw:
    """A WebSocket that sends what it is told."""

    def __init__(self, s, path):
        self.c = dial(s)
        key = base64.b64encode(os.urandom(16)).decode()
        self.c.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        self.data = b""
        while b"\r\n\r\n" not in self.data:
            more = self.c.recv(4096)
            assert more
            self.data += more
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        assert b" 101 " in head, head

    def frame(self):
        """(first byte, payload) of the next frame, None at the end."""
        def exactly(n):
            while len(self.data) < n:
                more = self.c.recv(65536)
                if not more:
                    return None
                self.data += more
            out, self.data = self.data[:n], self.data[n:]
            return out
        head = exactly(2)
        if not head:
            return None
        size = head[1] & 127
        if size == 126:
            size = struct.unpack(">H", exactly(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", exactly(8))[0]
        return head[0], exactly(size)

    def close_code(self):
        while True:
            f = self.frame()
            if f is None:
                return None
            if f[0] & 15 == 8:
                return struct.unpack(">H", f[1][:2])[0] if f[1] else 1005


def masked(first, payload=b"", length=None, mask=b"\1\2\3\4"):
    n = len(payload) if length is None else length
    size = bytes([128 | n]) if n < 126 else b"\xfe" + struct.pack(">H", n) if n < 65536 else b"\xff" + struct.pack(">Q", n)
    return bytes([first]) + size + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def frames_that_are_not_allowed_are_failed_with_their_code():
    with System() as s:
        source = Source(s, "box")
        source.write(3)
        s.has("box", 3)
        path = s.url("box")
        for what, data, code in [
            ("no mask", b"\x81\x02hi", 1002), ("no mask, nothing", b"\x82\x00", 1002), ("an unmasked ping", b"\x89\x00", 1002),
            ("reserved bit 1", masked(0xc1, b"hi"), 1002), ("reserved bit 3", masked(0x91, b"hi"), 1002),
            ("opcode 3", masked(0x83, b"hi"), 1002), ("opcode 7", masked(0x87), 1002), ("opcode 11", masked(0x8b), 1002),
            ("opcode 15", masked(0x8f), 1002), ("a ping in fragments", masked(0x09, b"x"), 1002),
            ("a close in fragments", masked(0x08, b"\x03\xe8"), 1002),
            ("a ping of 126", masked(0x89, b"x" * 126), 1002), ("a close of 126", masked(0x88, b"\x03\xe8" + b"x" * 124), 1002),
            ("a continuation of nothing", masked(0x80, b"x"), 1002),
            ("a text within a message", masked(0x01, b"a") + masked(0x81, b"b"), 1002),
            ("a length in too many bytes", b"\x82\xfe\x00\x05\1\2\3\4abcde", 1002),
            ("half a close code", masked(0x88, b"\x03"), 1002), ("the highest bit of a length", b"\x82\xff" + b"\x80" + bytes(7) + bytes(4), 1009),
            ("a gigabyte", b"\x82\xff" + struct.pack(">Q", 1 << 30) + bytes(4), 1009),
            ("text that is not UTF-8", masked(0x81, b"\xff\xfe"), 1007),
            ("UTF-8 that ends half way", masked(0x81, b"\xe2\x82"), 1007),
            ("UTF-8 cut by fragments, and wrong", masked(0x01, b"\xe2\x82") + masked(0x80, b"x"), 1007),
        ]:
            for how in ("whole", "byte by byte"):
                w = Raw(s, path)
                assert w.frame()[0] == 0x81
                if how == "whole":
                    w.c.sendall(masked(0x8a) + data)
                else:
                    for i in range(len(data)):
                        try:
                            w.c.sendall(data[i:i + 1])
                        except (BrokenPipeError, ConnectionResetError):
                            break  # it was closed before the last of it was sent; why stands before that
                got = w.close_code()
                assert got == code, (what, how, got)
        # what is allowed goes on
        w = Raw(s, path)
        w.frame()
        w.c.sendall(masked(0x01, b"\xe2\x82") + masked(0x89, b"between") + masked(0x80, b"\xac") + masked(0x82, bytes(5000)) + masked(0x81, b"x" * 65536))
        f = w.frame()
        assert f == (0x8a, b"between"), f
        source.write(1)
        assert w.frame()[0] == 0x81
        w.c.sendall(masked(0x88, struct.pack(">H", 1000) + b"bye"))
        assert w.close_code() == 1000


if __name__ == "__main__":
    main([ambiguous_requests_are_refused_wherever_they_stand, over_tls_they_are_refused_as_well, what_is_odd_but_clear_is_served,
          every_parameter_counts_or_all_are_refused, options_names_what_a_path_takes,
          requests_that_never_end_are_cut_within_10_seconds, frames_that_are_not_allowed_are_failed_with_their_code])
