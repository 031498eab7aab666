# SPDX-License-Identifier: Apache-2.0
"""/v1/logs: many sandboxes as one stream, by id and by label, resumed by one cursor."""
import json
import urllib.parse

from harness import Source, Sse, System, WebSocket, line_bytes, main, until


def url(*sandboxes, label=None, **query):
    pairs = [("sandbox", x) for x in sandboxes] + ([("label", label)] if label else []) + list(query.items())
    return "/v1/logs?" + urllib.parse.urlencode(pairs)


def lines(s, path):
    status, _, body = s.get(path)
    assert status == 200, (path, status, body)
    return [json.loads(x) for x in body.splitlines()]


def checked(objects, *sources):
    """Each line of each source once and in order; returns how often the sandbox changes."""
    for source in sources:
        mine = [o for o in objects if o["sandbox"] == source.sandbox and "event" not in o]
        assert [line_bytes(o) for o in mine] == [t for _, _, t in source.written], (source.sandbox, len(mine), len(source.written))
        assert [o["seq"] for o in mine] == list(range(1, len(mine) + 1))
    return sum(a["sandbox"] != b["sandbox"] for a, b in zip(objects, objects[1:]))


def three(s):
    sources = [Source(s, name) for name in ("one", "two", "three")]
    for _ in range(50):
        for source in sources:
            source.write(10)
    for source in sources:
        s.has(source.sandbox, 500)
    return sources


def many_are_read_as_one_merged_by_time():
    with System() as s:
        sources = three(s)
        objects = lines(s, url("one", "two", "three"))
        changes = checked(objects, *sources)
        assert len(objects) == 1500 and changes > 90, changes
        assert [o["time"] for o in objects] == sorted(o["time"] for o in objects)
        tails = lines(s, url("one", "two", tail=5))
        assert sorted((o["sandbox"], o["seq"]) for o in tails) == [(x, n) for x in ("one", "two") for n in range(496, 501)]
        assert len(lines(s, url("one", "two", "three", limit=7))) == 7
        # a member of which something was left out is not complete, though the gateway has read it to its end
        _, _, body = s.get(url("one", "two", tail=5, limit=1, format="sse"))
        ends = [json.loads(x[6:]) for x in body.decode().splitlines() if '"last_seq"' in x]
        assert [(e["reason"], e["last_seq"]) for e in ends] == [("limit", 500)] * 2, ends
        errors = lines(s, url("one", "two", stream="stderr", tail=10))
        assert len(errors) == 20 and all(o["stream"] == "stderr" for o in errors)
        # any line's cursor is a place in all of them
        for cut in (0, 7, 700, 1498, 1499):
            rest = lines(s, url("one", "two", "three", after=objects[cut]["cursor"]))
            key = lambda o: (o["sandbox"], o["seq"])
            assert sorted(map(key, objects[:cut + 1] + rest)) == sorted(map(key, objects)), cut
        for path, status, code in [(url("one", "nobody"), 404, "sandbox-not-found"), (url(), 400, "invalid-parameter"),
                                   (url("one", "a/b"), 400, "invalid-parameter"), (url("one", format="text"), 400, "invalid-parameter"),
                                   (url("one", after="m.???"), 400, "invalid-parameter"), (url("one", before="x"), 400, "invalid-parameter"),
                                   (url("one", label="x"), 400, "invalid-parameter")]:
            got, _, body = s.get(path)
            assert got == status and json.loads(body)["type"].endswith(code), (path, got, body)


def a_follower_of_many_resumes_where_it_was():
    with System() as s:
        sources = three(s)
        sse = Sse(s.port, url("one", "two", "three", follow=1))
        sse.wait(1500)
        for i in range(20):
            sources[i % 3].write(20)
            if i == 10:
                s.restart("gateway")
        sources[0].exit(0)
        until(lambda: any(e == "end" for e, _, _ in sse.events), 20, "the first one's own end")
        sse.ended = None
        first_end = [json.loads(d) for e, _, d in sse.events if e == "end"]
        assert len(first_end) == 1 and first_end[0]["sandbox"] == "one" and first_end[0]["reason"] == "stopped", first_end
        objects = [json.loads(d) for _, _, d in sse.logs()]
        sse.close()
        sources[1].write(5)
        sources[1].exit(1)
        sources[2].exit(2)
        status, _, body = s.request("GET", url("one", "two", "three", follow=1, format="ndjson", after=objects[-1]["cursor"]))
        rest = [json.loads(x) for x in body.splitlines()]
        checked(objects + [o for o in rest if "event" not in o], *sources)
        ends = {o["sandbox"]: o["exit_code"] for o in rest if o.get("event") == "end"}
        assert status == 200 and ends["two"] == 1 and ends["three"] == 2, (status, ends)
        last = [o for o in rest if "event" not in o][-1]["cursor"]
        assert s.get(url("one", "two", "three", follow=1), Accept="text/event-stream", **{"Last-Event-ID": last})[0] == 204


def sandboxes_that_come_to_match_a_label_join():
    with System() as s:
        s.put("a", state="running", labels={"team": "x"})
        s.put("other", state="running", labels={"team": "y"})
        a = Source(s, "a")
        a.write(10)
        s.has("a", 10)
        ws = WebSocket(s.port, url(label="team=x"))
        got = []
        objects = ws.objects()
        while len(got) < 10:
            got.append(next(objects))
        b = Source(s, "b")
        b.write(10)
        s.has("b", 10)
        s.put("b", labels={"team": "x"})
        while len(got) < 20:
            got.append(next(objects))
        b.exit(0)
        while got[-1].get("event") != "end":
            got.append(next(objects))
        assert got[-1]["sandbox"] == "b"
        a.write(5)
        for _ in range(5):
            got.append(next(objects))
        checked([o for o in got if "event" not in o], a, b)
        read = lines(s, url(label="team=x"))
        checked(read, a, b)


if __name__ == "__main__":
    main([many_are_read_as_one_merged_by_time, a_follower_of_many_resumes_where_it_was, sandboxes_that_come_to_match_a_label_join])
