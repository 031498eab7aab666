# SPDX-License-Identifier: Apache-2.0
"""The history checker: what readers saw, held against what was written.

A line describes itself: sandbox, container, stream, its number within the container, its time, a checksum. So a reader's `View`
needs no copy of the text: it knows from each line where it belongs and whether it is whole. The `Ledger` counts what was written
and keeps, per sandbox, which line has which number of the store: what one reader was given is settled for all that come later.

A broken rule raises `Violation` with the rule's name, the reader and the lines around it. About 200,000 lines/s of one core.
"""
import base64
import re
import threading
import time
import zlib
from collections import deque

RULES = {
    "invented": "nothing is delivered that nobody wrote",
    "bytes": "bytes, stream, container and time are those that were written",
    "order": "a container's lines come in the order they were written",
    "doubled": "no line is delivered twice",
    "missing": "written = delivered + gaps: what does not come is told in its place",
    "acknowledged": "a line that was ever delivered is there after any crash, with the same number",
    "cursor": "numbers and cursors grow, numbers without a hole",
    "end": "`end` comes once, last, and tells the truth",
}
HEAD = re.compile(rb"([^ /]+)/([^ ]+) (stdout|stderr) (\d+) (\d+) ([0-9a-f]{8}) ")


class Violation(AssertionError):
    def __init__(self, rule, who, what, context=()):
        assert rule in RULES
        self.rule = rule
        super().__init__(f"RULE {rule} ({RULES[rule]})\n  reader: {who}\n  {what}" + "".join(f"\n    {c}" for c in context))


def rfc3339(ns):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns % 10**9:09d}Z"


def make_line(sandbox, container, stream, number, ns, pad=b""):
    head = f"{sandbox}/{container} {stream} {number} {ns} ".encode()
    return head + b"%08x " % zlib.crc32(pad, zlib.crc32(head)) + pad


def parse_line(text):
    """(sandbox, container, stream, number, ns), or None when it is not one of ours, whole."""
    m = HEAD.match(text)
    if not m or zlib.crc32(text[m.end():], zlib.crc32(text[:m.start(6)])) != int(m[6], 16):
        return None
    return m[1].decode(), m[2].decode(), m[3].decode(), int(m[4]), int(m[5])


def line_bytes(o):
    return base64.b64decode(o["raw"]) if "raw" in o else o["line"].encode()


class Box:
    """A sandbox in the ledger."""

    def __init__(self, name, loses=False, gaps=False, times=True, ordered=True, about=""):
        self.name, self.about = name, about
        self.loses = loses          # its files are treated so that lines may be lost, if that is told
        self.gaps = gaps or loses   # ... or so that a gap may be told although nothing is missing
        self.ordered = ordered      # False: its files may be met in another order than they were written
        self.times = times          # the runtime's times are in the file
        self.written = {}           # container -> lines
        self.unknowable = []        # (container, begin, end, known()) of files that are gone; known(): whether they had to be read first
        self.over = False           # judged
        self.exit_code = None       # when its end is known to carry one
        self.put_at = None          # when the control plane stopped it: its `end` does not wait for a collector that is away
        self.promised = 0           # lines that the broker has said it has
        self.settled = []           # number - 1 -> (container, number within it), as first delivered
        self.lock = threading.Lock()

    def nobody_can_know(self, container, begin, end):
        """Whole files that are gone, whose one witness was a collector that died: nothing in the store or on the host names them. Of a file
        that was begun a place is stored, so that its rest is known to be missing."""
        for of, first, last, known in sorted(self.unknowable, key=lambda file: file[:3]):
            if of == container and first == begin and not known():
                begin = last
        return begin >= end


class Ledger:
    def __init__(self):
        self.boxes = {}

    def box(self, name, **more):
        if name not in self.boxes:
            self.boxes[name] = Box(name, **more)
        return self.boxes[name]

    def forget(self, name):
        self.boxes.pop(name, None)


class View:
    """One reader's sight of one sandbox. `first`: the number it has to begin with (None: any)."""

    def __init__(self, box, who, first=1):
        self.box, self.who = box, who
        self.next_seq = first
        self.whole = first == 1  # sees the log from its beginning
        self.next = {}           # container -> number expected
        self.joining = {}        # (container, stream) -> pieces of a line so far
        self.gap_at = {}         # container -> a gap came since its last line
        self.any_gap = False     # ... since the last line at all
        self.cursor = self.prefix = None
        self.gap_to = None       # the line that stands behind the last gap, where it was said
        self.over = None         # the `end` it got
        self.before = None       # ... on an earlier connection, which went on for others' sake
        self.delivered = self.gaps = self.missing = self.unknown = 0
        self.skipped = []        # (container, begin, end) of what did not come
        self.owed = []           # what did not come and has no gap yet: files that were never met are known as missed a moment later
        self.holes = {}          # container -> numbers that may come yet, where order is not promised
        self.displaced = 0       # ... and lines that came late
        self.lost = []           # ... where nothing may be lost
        self.pieces = []         # (number, text) of what is no whole line, in a form that does not mark pieces
        self.late = 0            # gaps that were told behind the first line after them
        self.recent = deque(maxlen=6)

    def fail(self, rule, what):
        raise Violation(rule, f"{self.who} {self.box.about}", what, [f"before: {r}" for r in self.recent])

    # ---- what arrives ---------------------------------------------------------------------------------------------
    def line(self, o, cursor=True):
        """An NDJSON object (also SSE with data=json)."""
        seq, container, stream = o["seq"], o.get("container") or "main", o["stream"]
        if self.over is not None:
            self.fail("end", f"a line after `end`: {o}")
        if self.before is not None and not self.box.put_at:
            self.fail("end", f"a line behind {self.before}: {o}")
        self._seq(seq, o)
        if cursor:
            self._cursor(o["cursor"], seq, o)
        text = line_bytes(o)
        if o.get("partial"):
            first, pieces = self.joining.setdefault((container, stream), (o["time"], []))
            pieces.append(text)
            self._settle(seq, (container, -1), o)
            return
        when, pieces = self.joining.pop((container, stream), (o["time"], []))
        pieces.append(text)
        number = self._text(b"".join(pieces), container, stream, when, o)
        self._settle(seq, (container, number), o)
        self.recent.append((seq, container, number))

    def text(self, text):
        """A line of plain text, without its newline."""
        if self.over is not None:
            self.fail("end", f"a line after the end: {text[:80]!r}")
        self.recent.append(("text", "", self._text(text, None, None, None, text[:120])))

    def gap(self, o):
        """A gap object; None for one in plain text."""
        if self.over is not None:
            self.fail("end", f"a gap after `end`: {o}")
        if not self.box.gaps:
            self.fail("invented", f"a gap where nothing can have been lost: {o}")
        if o and "from" in o and (self.cursor or self.next_seq == 1) and o["from"] != self.cursor:
            self.fail("missing", f"a gap behind {o['from']}, the last line was {self.cursor}: {o}")
        self.gap_to = o.get("to") if o else None
        self.gaps += 1
        self.any_gap = True
        self.late += bool(self.owed)
        self.owed.clear()
        for container in self.box.written:
            self.gap_at[container] = True
        if self.box.loses:
            self.joining.clear()
        self.recent.append(("gap", o, ""))

    def end(self, o):
        if self.over is not None:
            self.fail("end", f"a second `end`: {o}, after {self.over}")
        self.over = o
        if self.next_seq is not None and o.get("last_seq") != self.next_seq - 1:
            self.fail("end", f"`end` says {o}, the last line delivered is {self.next_seq - 1}")
        if o["reason"] == "stopped" and self.box.exit_code not in (None, o.get("exit_code")):
            self.fail("end", f"`end` says {o}, the exit code was {self.box.exit_code}")
        if o.get("lost") and not self.gaps and self.whole:
            self.fail("end", f"`end` says {o}, no gap was told")

    def again(self):
        """The connection is another one: it tells anew what stands behind the last line, a gap or the end."""
        self.before, self.over = self.over or self.before, None

    # ---- when all is over -----------------------------------------------------------------------------------------
    def complete(self, to_seq=None):
        """Everything that was written has come, or is told as missing."""
        if self.next_seq is not None:
            last = len(self.box.settled) if to_seq is None else to_seq
            if self.next_seq - 1 < max(last, self.box.promised):
                self.fail("acknowledged", f"ends with {self.next_seq - 1}, others were given {last}, the broker said it had {self.box.promised}")
        for seq, text in self.pieces:
            if self.box.settled[seq - 1][1] != -1:
                self.fail("bytes", f"number {seq} is a whole line, not {text[:200]!r}")
        if not self.whole:
            return
        for container, written in self.box.written.items():
            have = self.next.get(container, 0)
            if have < written:
                self._lost(container, have, written, "the end")
        for container, numbers in self.holes.items():
            if numbers and not self.box.loses:
                self.fail("missing", f"{len(numbers)} lines of {container} did not come, from {min(numbers)} to {max(numbers)}")
            self.missing += len(numbers)
        if self.lost:
            self.fail("missing", "lost where nothing may be lost: " + "; ".join(self.lost))
        if self.owed:
            self.fail("missing", "did not come, and no gap tells it: " + "; ".join(self.owed))

    # ---- the rules ------------------------------------------------------------------------------------------------
    def _seq(self, seq, o):
        if self.next_seq is not None and seq != self.next_seq:
            if seq < self.next_seq:
                self.fail("doubled", f"number {seq} again, {self.next_seq} was due: {o}")
            if not self.any_gap:
                self.fail("cursor", f"number {seq}, {self.next_seq} was due: {o}")
        self.next_seq = seq + 1
        self.any_gap = False

    def _cursor(self, cursor, seq, o):
        prefix, _, number = cursor.rpartition("-")
        if int(number) != seq or (self.prefix is not None and prefix != self.prefix):
            self.fail("cursor", f"cursor {cursor} of number {seq} after {self.cursor}: {o}")
        if self.gap_to not in (None, cursor):
            self.fail("missing", f"a gap before {self.gap_to} came before {cursor}: {o}")
        self.cursor, self.prefix, self.gap_to = cursor, prefix, None

    def _settle(self, seq, what, o):
        with self.box.lock:
            settled = self.box.settled
            if seq <= len(settled):
                known = settled[seq - 1]
                if known is None or known[1] is None:
                    settled[seq - 1] = what
                elif known != what and what[1] is not None:
                    self.fail("acknowledged", f"number {seq} was {known}, is {what}: {o}")
                return
            settled.extend([None] * (seq - 1 - len(settled)))
            settled.append(what)

    def _text(self, text, container, stream, when, o):
        """The number of the line, None for the remains of one that was torn by a loss."""
        line = parse_line(text)
        if line is None:
            if (self.box.loses and (self.gaps or HEAD.match(text))) or (not self.whole and not self.next):
                return None  # a beginning or an end whose other half is gone, or stands before where this reader began
            self.fail("bytes" if text.startswith(self.box.name.encode() + b"/") else "invented", f"damaged or not ours: {text[:200]!r} ({len(text)} bytes): {o}")
        sandbox, of, on, number, ns = line
        if sandbox != self.box.name or (container or of) != of:
            self.fail("invented", f"a line of {sandbox}/{of} in {self.box.name}/{container}: {o}")
        if number >= self.box.written.get(of, 0):
            self.fail("invented", f"line {number} of {of} has not been written: {o}")
        if stream and on != stream:
            self.fail("bytes", f"stream {stream}, written to {on}: {o}")
        if when and self.box.times and when != rfc3339(ns):
            self.fail("bytes", f"time {when}, written {rfc3339(ns)}: {o}")
        due = self.next.get(of, 0 if self.whole else number)
        if number < due and number in self.holes.get(of, ()):
            self.holes[of].remove(number)
            self.displaced += 1
            self.delivered += 1
            return number
        if number < due:
            late = any(of == c and begin <= number < end for c, begin, end in self.skipped)
            self.fail("order" if late else "doubled", f"line {number} of {of}, {due} was due: {o}")
        if number > due:
            self._lost(of, due, number, o)
        self.next[of] = number + 1
        self.gap_at[of] = False
        self.delivered += 1
        return number

    def _lost(self, container, begin, end, o):
        if not self.box.ordered:
            self.holes.setdefault(container, set()).update(range(begin, end))
            return
        what = f"lines {begin} to {end - 1} of {container}, next {str(o)[:200]}"
        if not self.box.loses:
            # Whether they are lost or come too late is known at the end.
            self.lost.append(what)
        elif not self.gap_at.get(container):
            if self.box.nobody_can_know(container, begin, end):
                self.unknown += end - begin
            else:
                self.owed.append(what)
        self.missing += end - begin
        self.skipped.append((container, begin, end))
