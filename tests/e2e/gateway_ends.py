# SPDX-License-Identifier: Apache-2.0
"""A thousand sandboxes that stop at random moments, many at once, in every way there is: every follower, in every format, gets every line,
then the end, and soon."""
import base64
import json
import os
import random
import re
import select
import socket
import time

from collector_load import Starved
from harness import PATIENCE, Source, System, main, until

# A removed log is looked for under other names for a second: it may be a rotation.
SANDBOXES, AT_ONCE, WITHIN_S, REMOVED_S = 1000, 125, 1.0, 1.0
FORMATS = ("sse", "ndjson", "text", "websocket")


class Follower:
    """A follower from before its sandbox is known; bytes as they come, when the last one came."""

    def __init__(self, s, sandbox, form):
        self.form, self.sandbox, self.data, self.ended = form, sandbox, b"", None
        self.sock = socket.create_connection(("127.0.0.1", s.port))
        url = s.url(sandbox, follow=1, wait="60", **({} if form == "websocket" else {"format": form}))
        head = f"GET {url} HTTP/1.1\r\nHost: 127.0.0.1:{s.port}\r\n"
        if form == "websocket":
            key = base64.b64encode(os.urandom(16)).decode()
            head += f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        self.sock.sendall(head.encode() + b"\r\n")
        self.sock.setblocking(False)

    def fileno(self):
        return self.sock.fileno()

    def read(self):
        try:
            more = self.sock.recv(1 << 16)
        except BlockingIOError:
            return
        except ConnectionResetError:
            more = b""
        self.data += more
        head, _, rest = self.data.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        if not more or (length and len(rest) >= int(length[1])) or (self.form in ("text", "ndjson") and rest.endswith(b"\r\n0\r\n\r\n")):
            self.ended = time.monotonic()

    def body(self):
        head, _, rest = self.data.partition(b"\r\n\r\n")
        assert head.split(b" ")[1] in (b"200", b"101"), (self.form, head)
        if self.form == "sse" or b"Content-Length: " in head:
            return rest
        out = b""
        if self.form == "websocket":
            while rest:
                size, at = rest[1] & 127, 2
                if size == 126:
                    size, at = int.from_bytes(rest[2:4], "big"), 4
                elif size == 127:
                    size, at = int.from_bytes(rest[2:10], "big"), 10
                if rest[0] & 15 in (1, 2):
                    out += rest[at:at + size]
                elif rest[0] & 15 == 8:
                    assert rest[at:at + 2] == (1000).to_bytes(2, "big"), rest[at:at + size]
                rest = rest[at + size:]
            return out
        while True:
            size, _, rest = rest.partition(b"\r\n")
            if int(size, 16) == 0:
                return out
            out += rest[:int(size, 16)]
            rest = rest[int(size, 16) + 2:]

    def told(self):
        """The lines it got, and the end (True for a plain text that was complete)."""
        body = self.body()
        if self.form == "text":
            return body.split(b"\n")[:-1], True
        if self.form == "sse":
            events = [dict(f.split(b": ", 1) for f in e.split(b"\n") if b": " in f) for e in body.split(b"\n\n")]
            lines = [e[b"data"] for e in events if e.get(b"event") == b"log"]
            assert events[-2].get(b"event") == b"end" if events[-1] == {} else True, events[-2:]
            return lines, json.loads([e[b"data"] for e in events if e.get(b"event") == b"end"][0])
        objects = [json.loads(line) for line in body.splitlines()]
        assert [o.get("event") for o in objects].index("end") == len(objects) - 1, objects[-2:]
        return [o["line"].encode() for o in objects if "line" in o], objects[-1]


def stop(s, source, way):
    if way == "exit":
        source.exit(7)
    elif way == "put":
        s.put(source.sandbox, state="stopped", exit_code=7)
    else:
        source.close()
        os.unlink(source.path)


def every_follower_of_a_thousand_stops_gets_every_line_and_then_the_end():
    rng = random.Random(26)
    late = []
    with System() as s:
        poller = select.epoll()
        for wave in range(SANDBOXES // AT_ONCE):
            names = [f"box-{wave}-{i}" for i in range(AT_ONCE)]
            followers = {}
            for i, name in enumerate(names):
                # As many as there are formats now and then; one otherwise.
                for form in FORMATS if i % 10 == 0 else (FORMATS[i % 4],):
                    f = Follower(s, name, form)
                    followers[f.fileno()] = f
                    poller.register(f, select.EPOLLIN)
            plan = sorted((rng.random() * 0.8, name) for name in names)
            ways, sources, over = {}, {}, {}
            starved, begun, at = Starved(s), time.monotonic(), 0
            deadline = begun + 60 * PATIENCE
            while any(f.ended is None for f in followers.values()):
                assert time.monotonic() < deadline, [(f.sandbox, f.form, f.data[-300:]) for f in followers.values() if f.ended is None][:3]
                for fd, _ in poller.poll(0.002):
                    f = followers[fd]
                    f.read()
                    if f.ended is not None:
                        poller.unregister(fd)
                        f.sock.close()
                for _ in range(3): # somebody writes, while others stop
                    name = rng.choice(names)
                    if name not in over:
                        if name not in sources:
                            sources[name] = Source(s, name)
                        sources[name].write(rng.randint(1, 20))
                while at < len(plan) and plan[at][0] <= time.monotonic() - begun:
                    name = plan[at][1]
                    at += 1
                    if name not in sources:
                        sources[name] = Source(s, name)
                    if not sources[name].written or rng.random() < 0.8: # its last words
                        sources[name].write(rng.randint(1, 50))
                    # A file that is removed before anybody has seen it is a gap, and so another promise (18).
                    seen = (s.info(name) or {}).get("lines") and len(sources[name].written) > 0
                    ways[name] = rng.choice(("exit", "put", "exit", "removed" if seen else "put"))
                    over[name] = time.monotonic()
                    stop(s, sources[name], ways[name])
            waited = starved.in_turn()  # a line's way is through all of them
            for f in followers.values():
                lines, end = f.told()
                want = [text for _, _, text in sources[f.sandbox].written]
                assert lines == want, (f.sandbox, f.form, ways[f.sandbox], len(lines), len(want))
                if end is not True:
                    assert end["reason"] == "stopped" and end["last_seq"] == len(want) and end["lost"] == 0, (f.sandbox, end)
                    assert end["exit_code"] == (None if ways[f.sandbox] == "removed" else 7), (f.sandbox, ways[f.sandbox], end)
                late.append((f.ended - over[f.sandbox] - (REMOVED_S if ways[f.sandbox] == "removed" else 0) - waited, f.sandbox, f.form, ways[f.sandbox]))
        poller.close()
        # Its log stays readable.
        for name in ("box-0-0", f"box-{wave}-7"):
            assert s.info(name)["state"] == "stopped" and len(s.lines(name)) == s.info(name)["lines"]
    late.sort()
    p50, p90, worst = (late[int(len(late) * q)][0] for q in (0.5, 0.9, 0.9999))
    print(f"   {len(late)} followers of {SANDBOXES} sandboxes; the end came after p50 {p50:.3f}, p90 {p90:.3f}, at most {worst:.3f} s,"
          " but for what the daemons waited for a CPU")
    assert p50 < WITHIN_S * PATIENCE, late[-5:]
    assert worst < 8 * PATIENCE, late[-5:]


if __name__ == "__main__":
    main([every_follower_of_a_thousand_stops_gets_every_line_and_then_the_end])
