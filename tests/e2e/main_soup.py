# SPDX-License-Identifier: Apache-2.0
"""Bytes are exact: generated soup (empty lines, CR, NUL, what is not UTF-8, 1 MiB lines; pieces of lines across rotation, streams interleaved
inside them) goes in through every form of file and comes back through every format. SANDLOG_SEED and SANDLOG_LINES make another one."""
import gzip
import json
import os
import random
import re
import subprocess
import threading
import time

from harness import BIN, PATIENCE, Sse, System, WebSocket, line_bytes, main, rfc3339, until

SEED = int(os.environ.get("SANDLOG_SEED", "23"))
LINES = int(os.environ.get("SANDLOG_LINES", "500"))
TOKENS = [b"", b" ", b"\t", b"\r", b"\r\r", b"\0", b"\0\0x", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", "€".encode(), "😀".encode(),
          "\u2028".encode(), b"\xef\xbb\xbf", b"data: x", b"id: 7", b"event: end", b": c", b'"', b"\\", b"\\n", b"</script>", b"\x1b[31m", b"\x7f", b"\x85", b"P ", b"F "]


def text(dice, number, utf8=False):
    """A line of soup, without LF; two of them as large as a line can be."""
    if number == LINES // 3:
        out = bytes([dice.choice(b"x\r\0 ")]) * (1 << 20)
    elif number == LINES // 2:
        out = dice.randbytes(1 << 19).decode("latin-1").encode() if utf8 else dice.randbytes(1 << 20)
    elif dice.random() < 0.5:
        out = b"".join(dice.choices(TOKENS, k=dice.randint(0, 6)))
    else:
        out = dice.randbytes(dice.randint(0, 400))
    out = out.replace(b"\n", b"\r")
    return out.decode("utf-8", "ignore").encode() if utf8 else out


def pieces(dice, line):
    """One, or some of any size; the last may be empty."""
    if dice.random() < 0.6:
        return [line]
    cuts = sorted(dice.randint(0, len(line)) for _ in range(dice.randint(1, 4)))
    return [line[a:b] for a, b in zip([0] + cuts, cuts + [len(line)])]


def characters(dice, line):
    """The same between characters: what Docker's JSON carries is text."""
    return [p.encode() for p in pieces(dice, line.decode())]


def cri(ns, stream, piece, last):
    return f"{rfc3339(ns)} {stream} {'F' if last else 'P'} ".encode() + piece + b"\n"


def docker(ns, stream, piece, last):
    return json.dumps({"log": piece.decode() + ("\n" if last else ""), "stream": stream, "time": rfc3339(ns)}).encode() + b"\n"


def brew(dice, form, count):
    """Records in the order they are written, the lines that they make, (stream, text), in the order they end, and before which records the
    file may be rotated. What is over 1 MiB together, and a second line that is open at a rotation, is kept in pieces: not brewed here."""
    records, lines, turns, begun, ns = [], [], [], 0, time.time_ns()
    if form == "plain":
        for _ in range(count):
            lines.append(("stdout", text(dice, len(lines))))
            records += [p for p in pieces(dice, lines[-1][1] + b"\n") if p]
        return records, lines, range(len(records))
    open_ = {"stdout": [], "stderr": []}  # pieces still to come, and the whole

    def end_piece(stream):
        nonlocal ns
        rest, whole = open_[stream]
        ns += dice.randint(0, 1000)
        records.append((cri if form == "cri" else docker)(ns, stream, rest.pop(0), not rest))
        if not rest:
            lines.append((stream, whole))
            open_[stream] = []
        if not all(open_.values()):
            turns.append(len(records))
    while len(lines) < count or any(open_.values()):
        stream = dice.choice(("stdout", "stderr"))
        if not open_[stream]:
            if len(lines) >= count:
                continue
            begun += 1
            whole = text(dice, begun, form == "docker")
            if len(whole) > 1 << 16:
                for other in open_:
                    while open_[other]:
                        end_piece(other)
            open_[stream] = [(characters if form == "docker" else pieces)(dice, whole), whole]
        end_piece(stream)
        while open_[stream] and len(open_[stream][1]) > 1 << 16:
            end_piece(stream)
    return records, lines, turns


def shown(line):
    """What an EventSource makes of a line: its ends are all one, what is not UTF-8 is replaced."""
    return re.sub("\r\n|\r", "\n", line.decode("utf-8", "replace"))


class Follower:
    """A WebSocket, read by a thread to its end."""

    def __init__(self, s, sandbox, protocol):
        self.ws, self.bytes = WebSocket(s.port, s.url(sandbox), protocol=protocol, timeout=60), b""
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while (m := self.ws.message()) is not None:
            self.bytes += m[1]

    def whole(self):
        self.thread.join(60 * PATIENCE)
        assert self.ws.code == 1000, self.ws.code
        return self.bytes


def told(objects):
    return [(o["stream"], line_bytes(o), bool(o.get("partial"))) for o in objects if "event" not in o]


def same(got, want, what):
    at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
    assert got == want, f"{what}: {len(got)} bytes, not {len(want)}; from {at} on {got[max(0, at - 60):at + 60]!r}, not {want[max(0, at - 60):at + 60]!r}"


def comes_back(s, sandbox, lines, ndjson, frames):
    plain = b"".join(t + b"\n" for _, t in lines)
    want = [(stream, t, False) for stream, t in lines]
    objects = lambda data: [json.loads(line) for line in data.split(b"\n") if line]
    sandlog = lambda *words: subprocess.run([BIN + "/sandlog", "logs", "--server", f"http://127.0.0.1:{s.port}", *words, sandbox],
                                            check=True, capture_output=True, timeout=60).stdout
    same(s.text(sandbox), plain, "text")
    for stream in ("stdout", "stderr"):
        assert s.text(sandbox, stream=stream) == b"".join(t + b"\n" for where, t in lines if where == stream), f"text of {stream}"
    status, head, packed = s.get(s.url(sandbox), Accept_Encoding="gzip")
    assert status == 200 and head["Content-Encoding"] == "gzip" and gzip.decompress(packed) == plain, "gzip"
    assert told(s.lines(sandbox)) == want, "ndjson"
    framed, at, back = s.get(f"/containers/{sandbox}/logs?stdout=1&stderr=1")[2], 0, []
    while at < len(framed):
        size = int.from_bytes(framed[at + 4:at + 8], "big")
        back.append((("stdout", "stderr")[framed[at] - 1], framed[at + 8:at + 8 + size]))
        at += 8 + size
    assert back == [(stream, t + b"\n") for stream, t in lines], "Docker's frames"
    for data in ("json", "text"):
        sse = Sse(s.port, s.url(sandbox, format="sse", data=data), reconnect=False)
        sse.wait_end(60)
        if data == "json":
            assert told(json.loads(d) for _, _, d in sse.logs()) == want, "sse, json"
        else:
            assert [d for _, _, d in sse.logs()] == [shown(t) for _, t in lines], "sse, text"
    assert told(objects(ndjson.whole())) == want, "websocket, ndjson"
    assert frames.whole() == plain, "websocket, text"
    assert sandlog() == plain, "sandlog logs"
    assert told(objects(sandlog("-o", "json"))) == want, "sandlog logs -o json"


def soup_comes_back_byte_for_byte(form):
    dice = random.Random(f"{SEED} {form}")
    with System([f"{form}:LOGS"], start=False) as s:
        s.watch = [f"{form}:{s.logs}/{{sandbox}}/{{container}}.log"]
        for name in ("broker", "gateway", "collector"):
            s.start(name)
        s.ready()
        records, lines, turns = brew(dice, form, LINES)
        os.mkdir(s.logs + "/soup")
        s.put("soup", state="running")
        followers = [Follower(s, "soup", f"sandlog.{what}.v1") for what in ("ndjson", "text")]
        # a line is carried over one file's end, not over two
        stops = sorted({turn for turn in dice.sample(turns, 5) if turn > 50} | {len(records)})
        stops = [b for a, b in zip([0] + stops, stops) if b - a > 20 or b == len(records)]
        path, at = s.logs + "/soup/main.log", 0
        for stop in stops:
            with open(path, "ab", buffering=0) as f:
                data = b"".join(records[at:stop])
                at = stop
                cut = dice.randint(0, len(data))  # a writer is seen in the middle of a record, too
                f.write(data[:cut])
                f.write(data[cut:])
            if at < len(records):
                os.rename(path, f"{path}.20261120-{stop:06d}")
        s.has("soup", len(lines), 60)
        until(lambda: s.info("soup")["bytes"] == sum(len(t) + 1 for _, t in lines), 30, "all is stored")
        with open(s.logs + "/soup/exit_code", "w") as f:
            f.write("0\n")
        comes_back(s, "soup", lines, *followers)
        assert sum(len(t) > 700_000 for _, t in lines) == 2
        print(f"   {form}: {len(lines)} lines in {len(records)} records, {sum(len(t) for _, t in lines)} bytes, {len(stops) - 1} rotations")


def a_line_whose_newline_opens_the_next_file_is_whole():
    """It was lost without a word: a record that ends in place 0 was taken for one that had been sent before, where nothing had been."""
    with System(start=False) as s:
        s.watch = [f"plain:{s.logs}/{{sandbox}}/main.log"]
        for name in ("broker", "gateway", "collector"):
            s.start(name)
        s.ready()
        os.mkdir(s.logs + "/vm")
        path = s.logs + "/vm/main.log"
        for turn, data in enumerate((b"first\nall of it but its end", b"\nsecond\nnext", b"\n\n\nlast\n")):
            if turn:
                os.rename(path, f"{path}.{9 - turn}")
            with open(path, "wb") as f:
                f.write(data)
        s.has("vm", 7)
        assert s.text("vm") == b"first\nall of it but its end\nsecond\nnext\n\n\nlast\n", s.text("vm")


def soup_of_cri_files_comes_back_byte_for_byte():
    soup_comes_back_byte_for_byte("cri")


def soup_of_docker_files_comes_back_byte_for_byte():
    soup_comes_back_byte_for_byte("docker")


def soup_of_plain_files_comes_back_byte_for_byte():
    soup_comes_back_byte_for_byte("plain")


if __name__ == "__main__":
    main([a_line_whose_newline_opens_the_next_file_is_whole, soup_of_cri_files_comes_back_byte_for_byte, soup_of_docker_files_comes_back_byte_for_byte,
          soup_of_plain_files_comes_back_byte_for_byte])
