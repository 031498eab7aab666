# SPDX-License-Identifier: Apache-2.0
"""Readers of every kind. Each follows one sandbox (or several together) to its end, comes again whenever it is cut off as its kind
resumes, and holds what it sees against the rules. What it finds broken it keeps in `fault`."""
import http.client
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
from harness import BIN, PATIENCE, WebSocket  # noqa: E402
from rules import View, Violation, parse_line  # noqa: E402

SILENCE_S = 40  # comments and pings come every 15 s; who hears nothing for longer comes again
KINDS = ("sse", "sse_text", "ndjson", "text", "websocket", "websocket_text", "cli", "cli_text", "late")
MANY = ("many_sse", "many_ndjson", "many_websocket")


class Cut(Exception):
    """The connection ended before the log did."""


class Reader:
    """followed: seen from the beginning to `end`. A `late` one begins behind a line that another reader was given."""

    def __init__(self, kind, world, box, after=None, first=1):
        self.kind, self.host, self.port, self.box = kind, world.host, world.port, box
        self.name = f"{kind} of {box.name}" + (f" from {first}" if first != 1 else "")
        self.form = "sse" if kind == "late" else kind
        self.first = first
        self.view = View(box, self.name, first)
        self.cursor, self.connects, self.resumes = after, 0, 0
        self.seen = []  # some cursors: (number, cursor)
        self.fault, self.finished, self.stopping = None, None, False
        self.status = None
        self.process = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping and self.finished is None:
            try:
                self._again()
                self.connects += 1
                getattr(self, "_" + self.form)()
            except (OSError, http.client.HTTPException, Cut, EOFError):
                self.resumes += self.connects > 0
                time.sleep(0.05)
            except Violation as v:
                self.fault = v
                return
            except Exception as e:  # what can't be read at all is a violation too
                self.fault = Violation("invented", self.name, f"unreadable: {type(e).__name__}: {e}")
                return

    def _again(self):
        """Kinds without cursors begin anew."""
        if self.form in ("text", "websocket_text", "sse_text", "cli", "cli_text") and not (self.form == "sse_text" and self.cursor):
            self.view = View(self.box, self.name)
            self.cursor = None

    def stop(self):
        self.stopping = True
        if self.process:
            self.process.kill()

    # ---- one connection -------------------------------------------------------------------------------------------
    def _url(self, **more):
        query = {"follow": 1, "wait": "30s", **more}
        if self.cursor and "after" not in query:
            query["after"] = self.cursor
        return f"/v1/sandboxes/{self.box.name}/logs?" + urllib.parse.urlencode(query)

    def _open(self, path, headers=None):
        """A 200, or what another status means."""
        c = http.client.HTTPConnection(self.host, self.port, timeout=SILENCE_S * PATIENCE)
        c.request("GET", path, headers=headers or {})
        r = c.getresponse()
        self.status = r.status
        if r.status == 200:
            return r
        body = r.read()
        c.close()
        self._refused(r.status, body)

    def _refused(self, status, body=b""):
        if status == 204 or (status == 409 and self.cursor):
            self.finished = "nothing left"
        elif status == 409:
            self.finished = "stopped before it was followed"
        elif status == 404 and self.view.delivered:
            raise Violation("acknowledged", self.name, f"unknown after {self.view.delivered} lines of it had been delivered: {body[:200]}")
        elif status in (404, 429, 502, 503, 504):
            raise Cut
        else:
            raise Violation("acknowledged", self.name, f"status {status} with cursor {self.cursor}: {body[:300]}")
        if self.finished:
            raise Cut

    def _ended(self, end, view=None):
        """`end` came. A gateway that shuts down says so and is left for another."""
        if end["reason"] == "shutdown":
            raise Cut
        (view or self.view).end(end)
        if view is None:
            self.finished = end["reason"]

    def _object(self, o):
        if "event" not in o:
            self.view.line(o)
            self.cursor = o["cursor"]
            if o["seq"] % 97 == 0:
                self.seen.append((o["seq"], o["cursor"]))
        elif o["event"] == "gap":
            self.view.gap(o)
        elif o["event"] == "end":
            self._ended(o)

    def _chunks(self, r):
        while not self.stopping:
            chunk = r.read1(65536)
            if not chunk:
                return
            yield chunk

    def _ndjson(self):
        pending = b""
        for chunk in self._chunks(self._open(self._url(format="ndjson"))):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                if line:
                    self._object(json.loads(line))
        if self.finished is None:
            raise Cut

    def _events(self, path):
        """(event, id, data) after the WHATWG rules."""
        headers = {"Accept": "text/event-stream"}
        if self.cursor:
            headers["Last-Event-ID"] = self.cursor
        pending, kind, ident, data = b"", "message", None, []
        for chunk in self._chunks(self._open(path, headers)):
            *lines, pending = (pending + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                if line == b"":
                    if data:
                        yield kind, ident, b"\n".join(data)
                    kind, data = "message", []
                    continue
                name, _, value = line.partition(b":")
                value = value[1:] if value.startswith(b" ") else value
                if name == b"event":
                    kind = value.decode()
                elif name == b"data":
                    data.append(value)
                elif name == b"id":
                    ident = value.decode()
        if self.finished is None:
            raise Cut

    def _sse(self):
        for kind, ident, data in self._events(self._url(data="json")):
            if kind == "log":
                o = json.loads(data)
                if ident != o["cursor"]:
                    raise Violation("cursor", self.name, f"event id {ident} of {o}")
                self._object(o)
            elif kind == "gap":
                self.view.gap(json.loads(data))
            elif kind == "end":
                self._ended(json.loads(data))
            elif kind == "error":
                self._refused(json.loads(data).get("status", 503), data)

    def _sse_text(self):
        self.view.whole = False  # judged by numbers: pieces of long lines are not told apart in this form
        for kind, ident, data in self._events(self._url()):
            if kind == "log":
                seq = int(ident.rpartition("-")[2])
                if self.view.next_seq is not None and seq != self.view.next_seq and not self.view.any_gap:
                    raise Violation("cursor", self.name, f"number {seq}, {self.view.next_seq} was due")
                self.view.next_seq, self.view.any_gap = seq + 1, False
                self.cursor = ident
                if len(data) < 4096 and data.startswith(self.box.name.encode() + b"/"):
                    self._text_line(seq, data)
            elif kind == "gap":
                self.view.gap(json.loads(data))
            elif kind == "end":
                self._ended(json.loads(data))
            elif kind == "error":
                self._refused(json.loads(data).get("status", 503), data)

    def _text_line(self, seq, text):
        """Pieces of long lines are left out here, so numbers may be skipped: only what comes is judged."""
        line = parse_line(text)
        if line is None:
            self.view.pieces.append((seq, text))
            return
        due = self.view.next.get(line[1], 0)
        if line[3] < due:
            raise Violation("doubled", self.name, f"line {line[3]} of {line[1]}, {due} was due")
        self.view.next[line[1]] = line[3] + 1
        self.view.delivered += 1

    def _plain(self, line):
        if line.startswith(b"--- sandlog: gap"):
            self.view.gap(None)
        else:
            self.view.text(line)

    def _text(self):
        pending = b""
        for chunk in self._chunks(self._open(self._url(format="text", gaps=1))):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                self._plain(line)
        self._text_over(pending)

    def _text_over(self, pending):
        if self.stopping:
            raise Cut
        if pending and not self.box.loses:
            raise Violation("bytes", self.name, f"an end without newline: {pending[-200:]!r}")
        self.view.next_seq = None  # text has no numbers
        self.finished = "text is over"

    def _socket(self, protocol, **more):
        ws = WebSocket(self.port, self._url(**more), protocol, timeout=SILENCE_S, host=self.host)
        if ws.status != 101:
            ws.close()
            self.status = ws.status
            if ws.status == 0:
                raise Cut  # gone before it answered
            self._refused(ws.status)
        try:
            while not self.stopping and (message := ws.message()):
                yield message[1]
        finally:
            ws.close()
        self.status = ws.code
        if ws.code and ws.code >= 4000 and self.finished is None:
            self._refused(ws.code - 4000, (ws.reason or "").encode())
        if ws.code != 1000 and self.finished is None:
            raise Cut

    def _websocket(self):
        for message in self._socket("sandlog.ndjson.v1"):
            for line in message.split(b"\n"):
                if line:
                    self._object(json.loads(line))
        if self.finished is None:
            raise Cut

    def _websocket_text(self):
        pending = b""
        for message in self._socket("sandlog.text.v1", gaps=1):
            *lines, pending = (pending + message).split(b"\n")
            for line in lines:
                self._plain(line)
        self._text_over(pending)

    def _command(self, *more):
        self.process = subprocess.Popen([os.path.join(BIN, "sandlog"), "logs", "-f", "--wait", "60", *more, "--server",
                                         f"http://{self.host}:{self.port}", self.box.name],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said = []
        listener = threading.Thread(target=lambda p=self.process: said.extend(p.stderr), daemon=True)
        listener.start()
        yield from self.process.stdout
        status = self.process.wait()
        listener.join()
        if self.stopping or (status == 1 and not self.view.delivered):
            raise Cut  # nobody was there when it began, and it said so
        if status != 0:
            raise Violation("missing", self.name, f"ended with {status} after {self.view.delivered} lines: {said[-3:]}")
        self.finished = self.finished or "ended"

    def _cli(self):
        for line in self._command("-o", "json"):
            self._object(json.loads(line))

    def _cli_text(self):
        if self.box.gaps:  # gaps go to stderr there, which can't be put in its place among the lines
            return self._cli()
        for line in self._command():
            self.view.text(line.rstrip(b"\n"))
        self.view.next_seq = None


class ManyReader(Reader):
    """/v1/logs: several sandboxes as one stream under one cursor."""

    def __init__(self, kind, world, boxes):
        self.views = {b.name: View(b, f"{kind} of {b.name}") for b in boxes}
        self.boxes = boxes
        super().__init__(kind, world, boxes[0])
        self.name = f"{kind} of {', '.join(self.views)}"

    def _again(self):
        for view in self.views.values():
            view.again()

    def _url(self, **more):
        query = [("sandbox", name) for name in self.views] + [("follow", 1), ("wait", "30s"), *more.items()]
        if self.cursor:
            query.append(("after", self.cursor))
        return "/v1/logs?" + urllib.parse.urlencode(query)

    def _object(self, o):
        view = self.views[o["sandbox"]]
        if "event" not in o:
            view.line(o, cursor=False)
            self.cursor = o["cursor"]
        elif o["event"] == "gap":
            view.gap(o)
        elif o["event"] == "end":
            if o["reason"] == "shutdown":
                raise Cut
            view.end(o)
            if all(v.over or v.before for v in self.views.values()):
                self.finished = "all ended"

    def _many_sse(self):
        for kind, _, data in self._events(self._url(data="json")):
            if kind == "error":
                self._refused(json.loads(data).get("status", 503), data)
            elif kind in ("log", "gap", "end"):
                o = json.loads(data)
                if "sandbox" not in o and o.get("reason") == "shutdown":
                    raise Cut
                self._object(o if kind == "log" else dict(o, event=kind))

    _many_ndjson = Reader._ndjson
    _many_websocket = Reader._websocket
