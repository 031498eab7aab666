# SPDX-License-Identifier: Apache-2.0
"""End-to-end harness: the real daemons on free addresses in a folder of their own, a generator that keeps a ledger of
what it wrote, readers of every kind, and the checker that compares: written = delivered + gaps, each line once, in order.

Python's standard library only. Every daemon is started by this process and ended by its pid. Waiting is always for a
condition with a deadline (`until`), never for a length of time.
"""
import base64
import fcntl
import http.client
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../history"))
from rules import Ledger, View, line_bytes, make_line, rfc3339  # noqa: E402

BIN = os.environ.get("SANDLOG_BIN") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../build/bin")
SAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../samples")
# Sanitizer builds are several times slower; every deadline is stretched alike.
PATIENCE = float(os.environ.get("SANDLOG_PATIENCE", "1"))
SKIPPED = 77


def skip(why):
    print("SKIPPED:", why)
    sys.exit(SKIPPED)


def until(condition, seconds=10, what="condition"):
    """Waits until condition() is true and returns its value; fails loudly after `seconds`, with `what`, or what() of then."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds * PATIENCE:.0f} s: {what() if callable(what) else what}")
        time.sleep(0.01)


taken = set()
try:
    claims = os.open(os.path.join(tempfile.gettempdir(), "sandlog-ports"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
except OSError:
    claims = None  # another user's


def claim(port):
    """Makes it ours until this process ends, among all tests of this machine: a port is free too while its daemon is started again."""
    if port in taken:
        return False
    try:
        if claims is not None:
            fcntl.lockf(claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    taken.add(port)
    return True


def free_port():
    """Below those that the kernel gives to connections, where there is room: else one of thousands of readers may have it before its
    daemon does, or while that is started again. No two are the same."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        lowest = int(f.read().split()[0])
    while True:
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", random.SystemRandom().randrange(10000, lowest) if lowest > 20000 else 0))
            except OSError:
                continue
            port = s.getsockname()[1]
        if claim(port):
            return port


class Redis:
    """A redis-server on a free port in a folder of its own; `before` are words in front of its command, which may put it at another host."""

    def __init__(self, *options, host="127.0.0.1", before=(), folder=None):
        self.program = shutil.which("redis-server")
        if not self.program:
            skip("no redis-server on this machine")
        self.dir = folder or tempfile.mkdtemp(prefix="sandlog-redis-")
        self.host, self.before = host, list(before)
        self.port, self.options, self.process = free_port(), list(options), None
        self.start()

    def start(self):
        self.spawn()
        until(lambda: self.command("PING") == b"+PONG", 30, "redis-server answers")

    def spawn(self):
        self.process = subprocess.Popen(self.before + [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.dir, "--save", ""]
                                        + self.options, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def command(self, text):
        """The first line of the answer to an inline command, or None."""
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as s:
                s.sendall(text.encode() + b"\r\n")
                return s.makefile("rb").readline().rstrip(b"\r\n")
        except OSError:
            return None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class System:
    """broker, gateway and collector over one temporary folder; with System(...) as s: ..."""

    def __init__(self, watch=None, broker=(), gateway=(), collector=(), start=True):
        self.dir = tempfile.mkdtemp(prefix="sandlog-e2e-")
        self.logs = os.path.join(self.dir, "logs")
        os.mkdir(self.logs)
        self.host, self.port = "127.0.0.1", free_port()  # the gateway's
        self.broker_port, self.collector_port = free_port(), free_port()
        self.watch = watch or [f"cri:{self.logs}/{{sandbox}}/{{container}}.log"]
        self.extra = {"broker": list(broker), "gateway": list(gateway), "collector": list(collector)}
        self.process = {}
        self.starts = 0
        # The same tests run on either store. One that outlives the broker's kills, as a directory does.
        self.redis = Redis("--appendonly", "yes", "--appendfsync", "always") if os.environ.get("SANDLOG_TEST_STORE") == "redis" else None
        if start:
            try:
                for name in ("broker", "gateway", "collector"):
                    self.start(name)
                self.ready()
            except BaseException:
                self.close()
                raise

    def command(self, name):
        ipc = lambda link: f"ipc://{self.dir}/{link}.sock"
        return [os.path.join(BIN, "sandlog-" + name)] + {
            "broker": (["--store", self.redis.url] if self.redis else ["--data", f"{self.dir}/data"]) + ["--ingest", ipc("ingest"), "--query", ipc("query"),
                       "--http", f"127.0.0.1:{self.broker_port}"],
            "gateway": ["--listen", f"127.0.0.1:{self.port}", "--broker", ipc("query")],
            "collector": ["--broker", ipc("ingest"), "--http", f"127.0.0.1:{self.collector_port}"]
                         + [w for spec in self.watch for w in ("--watch", spec)],
        }[name] + self.extra[name]

    def start(self, name):
        self.starts += 1
        stderr = open(f"{self.dir}/{name}.err", "ab")
        self.process[name] = subprocess.Popen(self.command(name), stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
        stderr.close()
        return self.process[name]

    def ready(self, seconds=10):
        until(lambda: self.probe(self.port) and self.probe(self.broker_port) and
              ("collector" not in self.process or self.probe(self.collector_port)), seconds, lambda: "all daemons ready\n" + self.errors())

    def probe(self, port, path="/readyz", host="127.0.0.1"):
        try:
            c = http.client.HTTPConnection(host, port, timeout=5)
            c.request("GET", path)
            return c.getresponse().status == 200
        except OSError:
            return False
        except http.client.HTTPException:
            return False

    def errors(self):
        text = ""
        for name in ("broker", "gateway", "collector"):
            try:
                with open(f"{self.dir}/{name}.err", errors="replace") as f:
                    text += f"--- {name}\n" + f.read()[-4000:]
            except OSError:
                pass
        return text

    def kill(self, name, sig=signal.SIGKILL):
        p = self.process.pop(name, None)
        if p:
            p.send_signal(sig)
            p.wait(timeout=20 * PATIENCE)
            return p.returncode

    def stop(self, name):
        """SIGTERM; returns the exit status, which has to be 0."""
        return self.kill(name, signal.SIGTERM)

    def restart(self, name, sig=signal.SIGKILL):
        self.kill(name, sig)
        self.start(name)

    def close(self):
        for name in list(self.process):
            p = self.process.pop(name)
            p.kill()
            p.wait()
        if self.redis:
            self.redis.close()
            self.redis = None
        if not os.environ.get("SANDLOG_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind and kind is not SystemExit:
            sys.stderr.write(self.errors())
        for name, p in self.process.items():
            if p.poll() is not None and kind is None:
                self.close()
                raise AssertionError(f"{name} ended by itself with {p.returncode}")
        self.close()

    # ---- requests -------------------------------------------------------------------------------------------------
    def request(self, method, path, body=None, headers=None, port=None, timeout=30):
        c = http.client.HTTPConnection(self.host, port or self.port, timeout=timeout * PATIENCE)
        c.request(method, path, body, headers or {})
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, r.headers, data

    def get(self, path, **headers):
        return self.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def json(self, path):
        status, _, data = self.get(path)
        assert status == 200, (path, status, data)
        return json.loads(data)

    def text(self, sandbox, **query):
        status, _, data = self.get(self.url(sandbox, **query))
        assert status == 200, (status, data)
        return data

    def lines(self, sandbox, **query):
        """NDJSON objects, in order."""
        status, _, data = self.get(self.url(sandbox, format="ndjson", **query))
        assert status == 200, (status, data)
        return [json.loads(line) for line in data.split(b"\n") if line]

    def url(self, sandbox, **query):
        return f"/v1/sandboxes/{urllib.parse.quote(sandbox)}/logs" + ("?" + urllib.parse.urlencode(query) if query else "")

    def info(self, sandbox):
        status, _, data = self.get("/v1/sandboxes/" + sandbox)
        return json.loads(data) if status == 200 else None

    def put(self, sandbox, **change):
        status, _, data = self.request("PUT", "/v1/sandboxes/" + sandbox, json.dumps(change),
                                       {"Content-Type": "application/json"})
        assert status == 200, (status, data)
        return json.loads(data)

    def has(self, sandbox, count, seconds=20):
        """Waits until `count` lines of the sandbox are stored."""
        def there():
            info = self.info(sandbox)
            return info and info["lines"] >= count
        until(there, seconds, lambda: f"{count} lines of {sandbox} stored; now {(self.info(sandbox) or {}).get('lines')}")


# ---- generator ------------------------------------------------------------------------------------------------------
class Source:
    """Writes self-describing lines into one log file, as a runtime does, and remembers them (the ledger)."""

    def __init__(self, system, sandbox, container="main", form="cri", seed=0, path=None):
        self.path = path or f"{system.logs}/{sandbox}/{container}.log"
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self.sandbox, self.container, self.form = sandbox, container, form
        self.random = random.Random(f"{sandbox}/{container}/{seed}")
        self.written = []  # (time or None, stream, text bytes)
        self.file = open(self.path, "ab", buffering=0)
        self.last_ns = 0

    def make(self, stream, bytes_wanted=None):
        pad = "".join(self.random.choices("abcdefghijklmnopqrstuvwxyz ", k=bytes_wanted or self.random.randint(0, 100)))
        return make_line(self.sandbox, self.container, stream, len(self.written), self.last_ns, pad.encode())

    def render(self, text, stream, ns):
        if self.form == "cri":
            return rfc3339(ns).encode() + b" " + stream.encode() + b" F " + text + b"\n"
        if self.form == "docker":
            log = json.dumps(text.decode() + "\n")
            return f'{{"log":{log},"stream":"{stream}","time":"{rfc3339(ns)}"}}\n'.encode()
        return text + b"\n"

    def write(self, count=1, stream=None):
        chunk = []
        for _ in range(count):
            where = stream or self.random.choice(("stdout", "stderr"))
            if self.form == "plain":
                where = "stdout"
            self.last_ns = max(self.last_ns + 1, time.time_ns())
            text = self.make(where)
            self.written.append((None if self.form == "plain" else rfc3339(self.last_ns), where, text))
            chunk.append(self.render(text, where, self.last_ns))
        self.file.write(b"".join(chunk))

    def rotate(self, suffix=".1"):
        """rename + reopen, as the kubelet and containerd do."""
        os.rename(self.path, self.path + suffix)
        self.file.close()
        self.file = open(self.path, "ab", buffering=0)

    def exit(self, code=0):
        folder = os.path.dirname(self.path)
        with open(folder + "/.exit_code.tmp", "w") as f:
            f.write(f"{code}\n")
        os.rename(folder + "/.exit_code.tmp", folder + "/exit_code")

    def close(self):
        self.file.close()


# ---- readers --------------------------------------------------------------------------------------------------------
class Sse:
    """A minimal EventSource after the WHATWG rules: reconnects by itself with Last-Event-ID, keeps every event."""

    def __init__(self, port, path, headers=None, reconnect=True):
        self.port, self.path, self.headers, self.reconnect = port, path, headers or {}, reconnect
        self.events = []  # (event, id, data)
        self.last_id = None
        self.connects = 0
        self.ended = None  # data of `end`
        self.status = None
        self.stopped = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped and self.ended is None:
            try:
                self.once()
            except (OSError, http.client.HTTPException):
                pass
            if not self.reconnect or self.status in (204, 400, 404, 409, 410):
                return
            time.sleep(0.02)

    def once(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60 * PATIENCE)
        headers = dict(self.headers, Accept="text/event-stream")
        if self.last_id:
            headers["Last-Event-ID"] = self.last_id
        c.request("GET", self.path, headers=headers)
        r = c.getresponse()
        self.status = r.status
        if r.status != 200:
            self.body = r.read()
            return
        self.connects += 1
        kind, ident, data = "message", None, []
        pending = b""
        while not self.stopped:
            chunk = r.read1(65536)
            if not chunk:
                return
            pending += chunk
            # lines end with LF here; CR alone ends a line too, which the server must never produce inside one
            *lines, pending = pending.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                if line == b"":
                    if ident is not None:
                        self.last_id = ident
                    if data:
                        self.events.append((kind, self.last_id, "\n".join(data)))
                        if kind == "end":
                            self.ended = json.loads("\n".join(data))
                            return
                    kind, data = "message", []
                    continue
                name, _, value = line.decode().partition(":")
                value = value[1:] if value.startswith(" ") else value
                if name == "event":
                    kind = value
                elif name == "data":
                    data.append(value)
                elif name == "id" and "\0" not in value:
                    ident = value

    def logs(self):
        return [e for e in self.events if e[0] == "log"]

    def wait(self, count, seconds=30):
        until(lambda: len(self.logs()) >= count, seconds, lambda: f"{count} events (have {len(self.logs())}, status {self.status})")

    def wait_end(self, seconds=30):
        until(lambda: self.ended is not None, seconds, lambda: f"end (have {len(self.logs())} lines, status {self.status})")

    def close(self):
        self.stopped = True


class WebSocket:
    """RFC 6455 client, enough to read: text and binary messages, pings answered, close code kept."""

    def __init__(self, port, path, protocol=None, headers=None, timeout=30, host="127.0.0.1"):
        self.sock = socket.create_connection((host, port), timeout=timeout * PATIENCE)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket", "Connection: Upgrade",
                 f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        if protocol:
            lines.append("Sec-WebSocket-Protocol: " + protocol)
        lines += [f"{k}: {v}" for k, v in (headers or {}).items()]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = b""
        while b"\r\n\r\n" not in head:
            more = self.sock.recv(4096)
            if not more:
                break
            head += more
        head, _, self.buffer = head.partition(b"\r\n\r\n")
        self.status = int(head.split(b" ")[1]) if head else 0
        self.head = head.decode("latin-1")
        self.code = self.reason = None

    def exactly(self, n):
        while len(self.buffer) < n:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError
            self.buffer += more
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def message(self):
        """(opcode, bytes) of the next message, None after close."""
        whole, first = b"", 0
        while True:
            try:
                b0, b1 = self.exactly(2)
                size = b1 & 127
                if size == 126:
                    size = struct.unpack(">H", self.exactly(2))[0]
                elif size == 127:
                    size = struct.unpack(">Q", self.exactly(8))[0]
                payload = self.exactly(size)
            except (EOFError, ConnectionResetError):
                return None
            opcode = b0 & 15
            if opcode == 8:
                self.code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 1005
                self.reason = payload[2:].decode()
                return None
            if opcode == 9:
                self.send(10, payload)
                continue
            if opcode == 10:
                continue
            first = first or opcode
            whole += payload
            if b0 & 128:
                return first, whole

    def send(self, opcode, payload=b""):
        mask = os.urandom(4)
        assert len(payload) < 126
        self.sock.sendall(bytes([128 | opcode, 128 | len(payload)]) + mask +
                          bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))

    def objects(self):
        """NDJSON objects until close."""
        while True:
            m = self.message()
            if m is None:
                return
            for line in m[1].split(b"\n"):
                if line:
                    yield json.loads(line)

    def close(self):
        self.sock.close()


# ---- checker --------------------------------------------------------------------------------------------------------
def check(sources, objects, what=""):
    """Every line of `sources` (of one sandbox) exactly once, in its file's order, byte-equal; nothing else; seq contiguous."""
    objects = [o for o in objects if "event" not in o]
    assert [o["seq"] for o in objects] == list(range(objects[0]["seq"], objects[0]["seq"] + len(objects))) if objects else True, \
        f"{what}: seq not contiguous"
    by_container = {}
    for o in objects:
        by_container.setdefault(o.get("container", ""), []).append(o)
    if len(sources) == 1 and sources[0].form == "plain":
        by_container = {sources[0].container: objects}
    for source in sources:
        got = by_container.pop(source.container, [])
        for i, (want, have) in enumerate(zip(source.written, got)):
            ns, stream, text = want
            assert line_bytes(have) == text, f"{what}: {source.sandbox} line {i}: wrote {text[:80]!r}, read {line_bytes(have)[:80]!r}"
            assert have["stream"] == stream, f"{what}: {source.sandbox} line {i}: stream {have['stream']}"
            assert ns is None or have["time"] == ns, f"{what}: {source.sandbox} line {i}: time {have['time']}, wrote {ns}"
        assert len(got) == len(source.written), f"{what}: {source.sandbox}: wrote {len(source.written)}, read {len(got)} lines"
    assert not by_container, f"{what}: lines of containers nobody wrote: {list(by_container)}"
    if objects and "cursor" in objects[0]:
        judge(sources, objects, what)


def judge(sources, objects, what):
    """The rules of history/rules.py on lines whose sources lost nothing."""
    box = Ledger().box(sources[0].sandbox, times=sources[0].form != "plain")
    box.written = {source.container: len(source.written) for source in sources}
    view = View(box, what, objects[0]["seq"])
    for o in objects:
        view.line(o if o.get("container") else dict(o, container=sources[0].container), cursor=not o["cursor"].startswith("m."))
    view.complete()


def main(tests):
    """Runs the functions, or those named on the command line; each prints a line."""
    names = sys.argv[1:]
    # A shell that starts us in the background has these ignored, and so would be everything that we start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    for test in tests:
        if names and test.__name__ not in names:
            continue
        start = time.monotonic()
        test()
        print(f"ok {test.__name__} ({time.monotonic() - start:.1f} s)", flush=True)
