# SPDX-License-Identifier: Apache-2.0
"""An EventSource reconnects to the URL it began with, with Last-Event-ID. The `tail` and the age in that URL were served
already; applied again they cut off, without a word, what came while the connection was away. And cursors and times that
are legal but far out get an answer, not a fault."""
import json
from concurrent.futures import ThreadPoolExecutor

from harness import Source, Sse, System, main, until


def lines_of_an_outage_longer_than_the_tail_are_not_lost():
    with System() as s:
        source = Source(s, "box")
        source.write(100)
        s.has("box", 100)
        for query in ({"tail": 5}, {"tail": 0}, {"since": "0.000001s"}, {"tail": 5, "stream": "both", "grep": "box"}):
            first = len(source.written)
            began = Sse(s.port, s.url("box", follow=1, tail=5), reconnect=False)
            began.wait(5)
            began.close()
            source.write(50)
            s.has("box", first + 50)
            again = Sse(s.port, s.url("box", follow=1, **query), headers={"Last-Event-ID": began.logs()[2][1]}, reconnect=False)
            again.wait(52)
            assert [d.encode() for _, _, d in again.logs()] == [t for _, _, t in source.written[first - 2:]], query
            again.close()
        # `after` is a page's own word, and composes with `tail` as ever
        cursor = s.lines("box")[9]["cursor"]
        assert [o["seq"] for o in s.lines("box", after=cursor, tail=3)] == [len(source.written) - 2 + i for i in range(3)]


def a_follower_with_a_tail_sees_every_line_while_the_gateway_is_restarted():
    with System() as s:
        source = Source(s, "box")
        source.write(100)
        s.has("box", 100)
        sse = Sse(s.port, s.url("box", follow=1, tail=10))
        sse.wait(10)
        for _ in range(2):
            s.kill("gateway")
            source.write(500)
            until(lambda: s.request("GET", "/readyz", port=s.broker_port)[0] == 200, 10, "broker")
            s.start("gateway")
            s.ready()
            s.has("box", len(source.written))
        sse.wait(1010)
        assert [d.encode() for _, _, d in sse.logs()] == [t for _, _, t in source.written[90:]]
        sse.close()


def cursors_and_times_far_out_are_answered():
    with System() as s:
        source = Source(s, "box")
        source.write(20)
        s.has("box", 20)
        prefix = s.lines("box")[0]["cursor"].rpartition("-")[0]
        # Each is asked again for some seconds, in case that the log is only late.
        far = [(where, seq) for where in ("after", "before") for seq in (2**32, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1)]
        with ThreadPoolExecutor(len(far)) as pool:
            answers = pool.map(lambda f: s.get(s.url("box", **{f[0]: f"{prefix}-{f[1]}"})), far)
            for asked, (status, _, body) in zip(far, answers):
                assert status == 410 and json.loads(body)["type"].endswith("cursor-expired"), (asked, status, body)
        for since, until_, lines in (("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", 20), ("9999-12-31T23:59:59Z", "", 0),
                                     ("", "0001-01-01T00:00:00Z", 0)):
            assert len(s.lines("box", since=since, until=until_)) == lines, (since, until_)
        status, _, body = s.get(s.url("box", since="9999-13-31T23:59:59Z"))
        assert status == 400 and json.loads(body)["parameter"] == "since"


if __name__ == "__main__":
    main([lines_of_an_outage_longer_than_the_tail_are_not_lost,
          a_follower_with_a_tail_sees_every_line_while_the_gateway_is_restarted, cursors_and_times_far_out_are_answered])
