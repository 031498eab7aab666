# SPDX-License-Identifier: Apache-2.0
"""Lying lengths against the real daemons: a table of hostile frames, and every real request with each of its bytes' places made a
large number in turn. Nothing may take memory for what was only announced, and the others are served as before."""
import os
import socket
import struct
import threading

from collector_load import peak_kib
from harness import PATIENCE, Source, System, check, free_port, main

REQ = b"\0SP\0\0\x30\0\0"  # what nng's side that asks begins with
ROOM_KIB = 48 << 10  # what all of it may cost a daemon


class Links(System):
    """Over TCP, with someone in between who remembers what was asked."""

    def __init__(self):
        self.real = {"ingest": free_port(), "query": free_port()}
        self.between = {name: socket.create_server(("127.0.0.1", 0)) for name in self.real}
        self.asked = {name: {} for name in self.real}  # link -> (type, about how long) -> message
        for name in self.real:
            threading.Thread(target=self.accept, args=(name,), daemon=True).start()
        super().__init__()

    def command(self, name):
        words = super().command(name)
        for link in self.real:
            port = self.real[link] if name == "broker" else self.between[link].getsockname()[1]
            words = [f"tcp://127.0.0.1:{port}" if word == f"ipc://{self.dir}/{link}.sock" else word for word in words]
        return words

    def accept(self, name):
        while True:
            here, _ = self.between[name].accept()
            try:
                there = socket.create_connection(("127.0.0.1", self.real[name]))
            except OSError:
                here.close()
                continue
            threading.Thread(target=self.carry, args=(here, there, self.asked[name]), daemon=True).start()
            threading.Thread(target=self.carry, args=(there, here, None), daemon=True).start()

    def carry(self, a, b, asked):
        kept = b""
        try:
            while data := a.recv(65536):
                b.sendall(data)
                if asked is None:
                    continue
                kept += data
                if kept.startswith(b"\0SP\0"):
                    kept = kept[8:]
                while len(kept) >= 8 and len(kept) >= 8 + (n := struct.unpack(">Q", kept[:8])[0]):
                    message, kept = kept[8:8 + n], kept[8 + n:]
                    asked.setdefault((message[9], len(message).bit_length()), message)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def connect(self, link):
        s = socket.create_connection(("127.0.0.1", self.real[link]), timeout=20 * PATIENCE)
        s.sendall(REQ)
        assert s.recv(8, socket.MSG_WAITALL)[:3] == b"\0SP"
        return s

    def say(self, s, message):
        s.sendall(struct.pack(">Q", len(message)) + message)


def ends(s):
    """The daemon closes it."""
    try:
        while s.recv(65536):
            pass
    except ConnectionResetError:
        pass
    s.close()


def lies(message):
    """The message with a large number at each place of its first and last bytes."""
    places = range(4, len(message)) if len(message) < 160 else [*range(4, 120), *range(len(message) - 40, len(message))]
    for at in places:
        for lie in (b"\xff\xff\xff\xff", b"\xff\xff", b"\xff", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\xff\xff\xff\x7f"):
            if at + len(lie) <= len(message):
                yield message[:at] + lie + message[at + len(lie):]
        yield message[:at]  # and cut


def lying_frames_take_no_memory():
    with Links() as s:
        sources = [Source(s, f"box{i}") for i in range(5)]
        for source in sources:
            source.write(200)
        for source in sources:
            s.has(source.sandbox, 200)
        s.put("box0", labels={"a": "b"})
        s.json("/v1/sandboxes?prefix=box&label=a=b")
        s.request("DELETE", "/v1/sandboxes/nobody")
        broker = s.process["broker"]
        before = peak_kib(broker)

        held = []
        for link in s.real:
            for size in (2 << 20 | 5, 1 << 24, 1 << 30, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
                c = s.connect(link)
                c.sendall(struct.pack(">Q", size) + b"x" * 100)
                ends(c)
            for _ in range(50):  # announces all that is allowed, and sends nothing
                c = s.connect(link)
                c.sendall(struct.pack(">Q", 2 << 20) + b"\x80\0\0\1")
                held.append(c)
        count = types = 0
        for link, asked in s.asked.items():
            hello = next(m for (kind, _), m in asked.items() if kind == 1)
            for (kind, _), message in sorted(asked.items()):
                types += 1
                c = None
                for lie in lies(message):
                    count += 1
                    for _ in range(2):
                        try:
                            if c is None:
                                c = s.connect(link)
                                c.settimeout(0.0005)
                                s.say(c, hello)
                            s.say(c, lie)
                            break
                        except OSError:
                            c = None
                    try:
                        if c and not c.recv(1 << 20):
                            c = None
                    except TimeoutError:
                        pass
                    except OSError:
                        c = None
                if c:
                    c.close()
        assert broker.poll() is None
        took = peak_kib(broker) - before
        print(f"   {count} lies in {types} real requests, {len(held)} connections that announce and are silent: {took / 1024:.1f} MiB")
        assert took < ROOM_KIB or "SANDLOG_PATIENCE" in os.environ, took
        for source in sources[1:]:
            source.write(200)
            s.has(source.sandbox, 400)
            check([source], s.lines(source.sandbox), source.sandbox)
        for c in held:
            c.close()


def lying_requests_take_no_memory_of_the_gateway():
    with System() as s:
        source = Source(s, "box")
        source.write(100)
        s.has("box", 100)
        gateway = s.process["gateway"]
        before = peak_kib(gateway)
        host = f"Host: 127.0.0.1:{s.port}\r\n"
        upgrade = f"GET /v1/sandboxes/box/logs?follow=1 HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\n" \
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        table = [
            (f"PUT /v1/sandboxes/box HTTP/1.1\r\n{host}Content-Length: 999999999999999999\r\n\r\n", b"x" * 65536),
            (f"PUT /v1/sandboxes/box HTTP/1.1\r\n{host}Content-Length: 1073741824\r\n\r\n", b"x" * 65536),
            (f"PUT /v1/sandboxes/box HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"),
            (f"PUT /v1/sandboxes/box HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", b"x" * 65536),
            (f"GET /v1/sandboxes/box/logs?x=", b"x" * 65536),
            (f"GET / HTTP/1.1\r\n{host}", b"X-Y: " + b"z" * 4000 + b"\r\n"),
            (upgrade, b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0" + b"x" * 65536),
            (upgrade, b"\x02\xfe\xff\xff\0\0\0\0" + b"x" * 65535),
        ]
        for head, more in table * 8:
            c = socket.create_connection(("127.0.0.1", s.port), timeout=20 * PATIENCE)
            sent = 0
            try:
                c.sendall(head.encode())
                while sent < 64 << 20:  # more than a daemon may take for it, were it kept
                    c.sendall(more)
                    sent += len(more)
            except (ConnectionResetError, BrokenPipeError):
                pass
            assert sent < 64 << 20, f"{head[:60]!r}: nobody cut it"
            c.close()
        took = peak_kib(gateway) - before
        print(f"   {len(table) * 8} connections: {took / 1024:.1f} MiB")
        assert took < ROOM_KIB or "SANDLOG_PATIENCE" in os.environ, took
        check([source], s.lines("box"), "box")


if __name__ == "__main__":
    main([lying_frames_take_no_memory, lying_requests_take_no_memory_of_the_gateway])
