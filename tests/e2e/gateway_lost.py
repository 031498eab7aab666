# SPDX-License-Identifier: Apache-2.0
"""Readers whose network went away without a word: a network namespace whose link is taken down; beside them readers who are there
and read nothing for as long. Needs root and `ip`."""
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time

from harness import BIN, PATIENCE, Source, System, WebSocket, free_port, main, skip, until

WEB = """
import socket, sys, time
c = socket.create_connection((sys.argv[1], int(sys.argv[2])))
c.sendall(("GET %s HTTP/1.1\\r\\nHost: x\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Version: 13\\r\\n"
           "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\n\\r\\n" % sys.argv[3]).encode())
while c.recv(65536):
    pass
"""
STOPPED_S = 31  # longer than those who vanished are given


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


def followers(s):
    for line in s.get("/metrics")[2].decode().splitlines():
        if line.startswith("sandlog_gateway_followers_count "):
            return int(line.split()[1])


def over_tls(s):
    """A second gateway of the same broker; its process and port."""
    port = free_port()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x", "-keyout", f"{s.dir}/tls.key",
                    "-out", f"{s.dir}/tls.pem"], check=True, stderr=subprocess.DEVNULL)
    p = subprocess.Popen([os.path.join(BIN, "sandlog-gateway"), "--listen", f"127.0.0.1:{port}", "--broker", f"ipc://{s.dir}/query.sock", "--tls-cert",
                          f"{s.dir}/tls.pem", "--tls-key", f"{s.dir}/tls.key"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return p, port


def listens(port):
    with socket.socket() as c:
        return c.connect_ex(("127.0.0.1", port)) == 0


def dial(port, path, tls):
    c = socket.socket()
    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    c.settimeout(30 * PATIENCE)
    c.connect(("127.0.0.1", port))
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        c = context.wrap_socket(c)
    c.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return c


def whole(c):
    data = b""
    while not data.endswith(b"\r\n0\r\n\r\n"):
        more = c.recv(1 << 20)
        assert more, f"cut after {len(data)} bytes"
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    assert b" 200 " in head, head
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[:int(size, 16)], rest[int(size, 16) + 2:]
    return body


def peers_that_vanish_are_let_go_within_30_seconds_and_who_does_not_read_is_not():
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("openssl"):
        skip("needs root, ip and openssl")
    tag = f"sl{os.getpid() % 100000}"
    if ip("netns", "add", tag, check=False).returncode != 0:
        skip("network namespaces are not allowed here")
    readers = []
    try:
        ip("link", "add", tag + "h", "type", "veth", "peer", "name", tag + "n", "netns", tag)
        net = f"10.{os.getpid() % 200 + 20}.77"
        ip("addr", "add", f"{net}.1/24", "dev", tag + "h")
        ip("link", "set", tag + "h", "up")
        if ip("-n", tag, "addr", "add", f"{net}.2/24", "dev", tag + "n", check=False).returncode != 0:
            skip("network namespaces can't be entered here")
        ip("-n", tag, "link", "set", tag + "n", "up")
        with System(gateway=("--insecure-no-auth",)) as s:
            s.stop("gateway")
            s.extra["gateway"] = ["--insecure-no-auth", "--listen", f"0.0.0.0:{s.port}"]
            s.start("gateway")
            s.ready()
            busy, quiet, much = Source(s, "busy"), Source(s, "quiet"), Source(s, "much")
            for source, lines in (busy, 1), (quiet, 1), (much, 20000):
                source.write(lines)
                s.has(source.sandbox, lines)
            secure, port = over_tls(s)
            readers.append(secure)
            path = s.url("much", follow=1, format="text")
            until(lambda: listens(port), 20, "the gateway with TLS")
            stopped = [dial(s.port, path, False), dial(port, path, True)]
            socket_of_web = WebSocket(s.port, s.url("much", follow=1, format="ndjson"))
            until(lambda: followers(s) == 2, 10, "two follow here, and read nothing")
            full = time.monotonic()
            for sandbox, form in (("busy", "sse"), ("quiet", "sse"), ("quiet", "text")):
                readers.append(subprocess.Popen(["ip", "netns", "exec", tag, "curl", "-sN", "-o", "/dev/null",
                                                 f"http://{net}.1:{s.port}{s.url(sandbox, follow=1, format=form)}"]))
            readers.append(subprocess.Popen(["ip", "netns", "exec", tag, sys.executable, "-c", WEB, f"{net}.1", str(s.port), s.url("quiet", follow=1)]))
            until(lambda: followers(s) == 6, 10, "four more follow")
            ip("link", "set", tag + "h", "down")
            down = time.monotonic()
            while followers(s) > 2:
                busy.write(1)
                assert time.monotonic() - down < 35 * PATIENCE, followers(s)
                time.sleep(0.5)
            assert time.monotonic() - down < 32 * PATIENCE
            time.sleep(max(0, full + STOPPED_S - time.monotonic()))
            assert followers(s) == 2, "who is there is kept"
            much.exit(0)
            want = [text for _, _, text in much.written]
            for c in stopped:
                assert whole(c).split(b"\n")[:-1] == want
                c.close()
            assert [o["line"].encode() for o in socket_of_web.objects() if "event" not in o] == want
            socket_of_web.close()
    finally:
        for r in readers:
            r.kill()
            r.wait()
        ip("link", "del", tag + "h", check=False)
        ip("netns", "del", tag, check=False)


if __name__ == "__main__":
    main([peers_that_vanish_are_let_go_within_30_seconds_and_who_does_not_read_is_not])
