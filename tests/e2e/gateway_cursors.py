# SPDX-License-Identifier: Apache-2.0
"""Resuming by cursor, as a property: behind any line, over any number of requests, restarts and gateways, come exactly the lines behind it;
and whatever else a cursor is made to be is told so, or names another line of the same sandbox, never other data."""
import http.client
import json
import random
import signal
import string
import subprocess
import threading
import urllib.parse

from harness import PATIENCE, Source, Sse, System, WebSocket, free_port, main, until

SEED = 20260220


def written(s, sandbox, count):
    source = Source(s, sandbox, seed=SEED)
    while len(source.written) < count:
        source.write(random.Random(len(source.written)).randint(1, 40))
    s.has(sandbox, len(source.written))
    return s.lines(sandbox)


class Wire:
    """Many requests on one connection."""

    def __init__(self, port):
        self.c = http.client.HTTPConnection("127.0.0.1", port, timeout=30 * PATIENCE)

    def get(self, sandbox, headers=None, **query):
        query.setdefault("format", "ndjson")
        self.c.request("GET", f"/v1/sandboxes/{sandbox}/logs?" + urllib.parse.urlencode(query), headers=headers or {})
        r = self.c.getresponse()
        return r.status, r.read()

    def seqs(self, sandbox, headers=None, **query):
        status, body = self.get(sandbox, headers, **query)
        assert status == 200, (query, status, body)
        return [json.loads(line)["seq"] for line in body.splitlines()]


def a_read_goes_on_exactly_behind_any_line():
    rng = random.Random(SEED)
    with System() as s:
        lines = written(s, "box", 400)
        last = len(lines)
        assert [line["seq"] for line in lines] == list(range(1, last + 1))
        other = free_port()
        second = s.process["second"] = subprocess.Popen(
            [word.replace(str(s.port), str(other)) for word in s.command("gateway")], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: s.probe(other), 10, "a second gateway")

        def round_of(count):
            wires = [Wire(s.port), Wire(other)]
            for _ in range(count):
                wire, seq, to = rng.choice(wires), rng.randint(1, last), rng.randint(1, last)
                cursor = lines[seq - 1]["cursor"]
                behind = list(range(seq + 1, last + 1))
                assert wire.seqs("box", after=cursor) == behind
                assert wire.seqs("box", after=cursor) == behind, "again the same"
                assert wire.seqs("box", cursor=cursor) == behind
                assert wire.seqs("box", {"Last-Event-ID": cursor}, after=lines[to - 1]["cursor"], tail=3) == behind, "the header wins, and has no tail"
                n = rng.randint(0, 30)
                assert wire.seqs("box", after=cursor, limit=n) == behind[:n]
                assert wire.seqs("box", after=cursor, tail=n) == (behind[-n:] if n else [])
                assert wire.seqs("box", before=cursor, tail=n) == (list(range(1, seq))[-n:] if n else [])
                assert wire.seqs("box", after=cursor, before=lines[to - 1]["cursor"]) == list(range(seq + 1, to))
            # In steps of any size, each from the last cursor of the one before, on any gateway.
            at, seen = None, []
            while True:
                query = {"after": at} if at else {}
                status, body = rng.choice(wires).get("box", limit=rng.randint(1, 60), **query)
                step = [json.loads(line) for line in body.splitlines()]
                if not step:
                    break
                seen += [line["seq"] for line in step]
                at = step[-1]["cursor"]
            assert seen == list(range(1, last + 1))
        round_of(60)
        s.restart("broker", signal.SIGKILL)
        s.restart("gateway", signal.SIGKILL)
        s.ready()
        until(lambda: s.probe(other), 20, "the second gateway has its broker again")
        round_of(40)
        # Following from anywhere, by both: the rest, then what comes.
        followers = []
        for _ in range(20):
            seq = rng.randint(1, last)
            cursor = lines[seq - 1]["cursor"]
            followers.append((seq, Sse(s.port, s.url("box", follow=1), headers={"Last-Event-ID": cursor}, reconnect=False)))
            ws = WebSocket(other, s.url("box", after=cursor, limit=3))
            assert [o["seq"] for o in ws.objects() if "seq" in o] == list(range(seq + 1, min(seq + 4, last + 1))) if seq <= last - 3 else True
            ws.close()
        source = Source(s, "box", seed=1)
        source.write(10)
        for seq, sse in followers:
            sse.wait(last - seq + 10)
            assert [int(i.rsplit("-", 1)[1]) for _, i, _ in sse.logs()] == list(range(seq + 1, last + 11))
            sse.close()
        second.terminate()
        assert second.wait(20) == 0
        s.process.pop("second")


def mutations(rng, cursor, count):
    letters = string.ascii_letters + string.digits + "._-"
    for _ in range(count):
        text = list(cursor)
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            at = rng.randrange(len(text)) if text else 0
            what = rng.randrange(6)
            if what == 0 and text:
                text[at] = rng.choice(letters)
            elif what == 1:
                text.insert(at, rng.choice(letters))
            elif what == 2 and text:
                del text[at]
            elif what == 3 and text:
                text[at] = rng.choice("\x01 \xe9%\u2028/+")
            elif what == 4 and text:
                text[at] = text[at].swapcase()
            else:
                text = text[:at]
        yield "".join(text)


def no_mutation_of_a_cursor_reads_other_data():
    rng = random.Random(SEED + 1)
    with System() as s:
        lines, others = written(s, "box", 150), written(s, "other", 60)
        last = len(lines)
        prefix = lines[0]["cursor"].rsplit("-", 1)[0]
        # (The story: libwebsockets drops a query from an encoded line end on, and the whole log came.)
        for end in ("%0A", "%0d", "%0D%0A", "x%0a"):
            status, _, body = s.get(f"/v1/sandboxes/box/logs?after={lines[3]['cursor']}{end}&format=ndjson")
            assert status == 400, (end, status, body[:200])
        wire, counted, ahead = Wire(s.port), {}, []
        texts = [m for line in rng.sample(lines, 40) for m in mutations(rng, line["cursor"], 40)]
        texts += [line["cursor"] for line in rng.sample(others, 20)]
        texts += [f"{prefix}-{n}" for n in ("00", "007", "-1", "+1", "1e3", "18446744073709551616", "99999999999999999999999", "1 ", " 1", "0x1")]
        for text in texts:
            seq = text.rsplit("-", 1)[-1]
            sound = text == f"{prefix}-{seq}" and seq.isascii() and seq.isdigit() and str(int(seq)) == seq and int(seq) < 2**64
            if sound and int(seq) > last:
                ahead.append(text)
                continue
            for name in ("after", "before"):
                status, body = wire.get("box", **{name: text})
                counted[status] = counted.get(status, 0) + 1
                if text == "":
                    assert status == 200, "an empty value is none"
                elif sound:
                    want = range(int(seq) + 1, last + 1) if name == "after" else range(1, int(seq))
                    assert status == 200 and [json.loads(line) for line in body.splitlines()] == [lines[n - 1] for n in want], (text, status)
                else:
                    assert status in (400, 410) and json.loads(body)["parameter"] == name, (text, status, body)
                    assert status == 400 or text[:8] != prefix[:8], text
        assert counted[400] > 500 and counted[410] > 20, counted
        # A cursor ahead of the log is of a log that has lost it.
        answers = []
        ahead = (ahead + [f"{prefix}-{n}" for n in (last + 1, 10**9, 2**64 - 1)])[-12:]
        threads = [threading.Thread(target=lambda t=t, q=q: answers.append((t, Wire(s.port).get("box", **{q: t}))))
                   for t in ahead for q in ("after", "before")]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(answers) == len(threads)
        for text, (status, body) in answers:
            assert status == 410 and json.loads(body)["oldest"] == lines[0]["cursor"], (text, status, body)
        ws = WebSocket(s.port, s.url("box", after=ahead[-1]))
        assert ws.message() is None and ws.code == 4410 and ws.reason == lines[0]["cursor"], (ws.code, ws.reason)
        # ...but what comes within the time that another broker may be ahead is waited for.
        early = Sse(s.port, s.url("box", follow=1), headers={"Last-Event-ID": f"{prefix}-{last + 2}"}, reconnect=False)
        Source(s, "box", seed=2).write(5)
        early.wait(3)
        assert [i for _, i, _ in early.logs()][:3] == [f"{prefix}-{last + n}" for n in (3, 4, 5)]
        early.close()


def no_mutation_of_a_set_of_cursors_reads_other_data():
    rng = random.Random(SEED + 2)
    with System() as s:
        true = {name: {line["seq"]: line["line"] for line in written(s, name, 60)} for name in ("a", "b", "c")}
        path = "/v1/logs?sandbox=a&sandbox=b&sandbox=c&format=ndjson"
        status, _, body = s.get(path)
        lines = [json.loads(line) for line in body.splitlines()]
        assert status == 200 and len(lines) == sum(map(len, true.values()))
        for at in rng.sample(range(len(lines)), 20):
            left = json.loads("[" + ",".join(line.decode() for line in s.get(path + "&after=" + lines[at]["cursor"])[2].splitlines()) + "]")
            assert [(o["sandbox"], o["seq"]) for o in left] == [(o["sandbox"], o["seq"]) for o in lines[at + 1:]] or \
                sorted((o["sandbox"], o["seq"]) for o in left) == sorted((o["sandbox"], o["seq"]) for o in lines[at + 1:]), at
        counted = {}
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=30)
        for text in [m for line in rng.sample(lines, 15) for m in mutations(rng, line["cursor"], 30)]:
            if text == "":
                continue
            c.request("GET", path + "&after=" + urllib.parse.quote(text, safe=""))
            r = c.getresponse()
            status, body = r.status, r.read()
            counted[status] = counted.get(status, 0) + 1
            assert status in (200, 400, 410), (text, status)
            if status == 200: # numbers of these sandboxes then: each from one on, to the end, as they are
                seen = {}
                for line in body.splitlines():
                    o = json.loads(line)
                    assert true[o["sandbox"]][o["seq"]] == o["line"], (text, o)
                    assert seen.get(o["sandbox"], o["seq"] - 1) == o["seq"] - 1, (text, o)
                    seen[o["sandbox"]] = o["seq"]
                assert all(seq == len(true[name]) for name, seq in seen.items()), (text, seen)
        assert counted[400] > 100, counted


def a_deleted_log_takes_its_cursors_with_it():
    with System() as s:
        old = written(s, "box", 30)
        s.request("DELETE", "/v1/sandboxes/box")
        assert s.get(s.url("box", after=old[3]["cursor"]))[0] == 404
        until(lambda: s.get("/v1/sandboxes/box")[0] == 404, 5, "gone")
        s.put("box", state="running")
        new = Source(s, "box", container="again")
        new.write(40)
        s.has("box", 40)
        for name in ("after", "before"):
            status, _, body = s.get(s.url("box", **{name: old[3]["cursor"]}))
            assert status == 410 and json.loads(body)["oldest"] == s.lines("box")[0]["cursor"], (status, body)
        assert [o["line"].encode() for o in s.lines("box")] == [text for _, _, text in new.written]


if __name__ == "__main__":
    main([a_read_goes_on_exactly_behind_any_line, no_mutation_of_a_cursor_reads_other_data, no_mutation_of_a_set_of_cursors_reads_other_data,
          a_deleted_log_takes_its_cursors_with_it])
