# SPDX-License-Identifier: Apache-2.0
"""A stream over many sandboxes: who comes to match its label is read from its first line, whatever `tail` was; and a cursor
taken before a quiet member had a line goes on where that member stood, not at its beginning."""
import json
import os
import subprocess

from harness import BIN, Source, Sse, System, main, until


def seen(sse, sandbox):
    return [o["seq"] for o in (json.loads(d) for _, _, d in sse.logs()) if o["sandbox"] == sandbox]


def a_sandbox_that_comes_to_match_is_read_from_its_first_line():
    """`tail=0` was applied to it when it was noticed, seconds after it began: what it had written until then was lost."""
    with System() as s:
        old = Source(s, "old")
        old.write(10)
        s.has("old", 10)
        s.put("old", labels={"app": "web"})
        sse = Sse(s.port, "/v1/logs?label=app%3Dweb&follow=1&tail=0", reconnect=False)
        until(lambda: sse.status == 200, 10, "connected")
        s.put("new", labels={"app": "web"})
        new = Source(s, "new")
        new.write(7)
        s.has("new", 7)
        until(lambda: seen(sse, "new") == list(range(1, 8)), 15, f"all lines of the new one; have {sse.events}")
        old.write(2)
        until(lambda: seen(sse, "old") == [11, 12], 10, "the old one goes on from where it was")
        new.write(2)
        until(lambda: seen(sse, "new") == list(range(1, 10)), 10, "and the new one")
        sse.close()


def a_quiet_member_is_not_sent_again_from_its_beginning():
    with System() as s:
        busy, quiet = Source(s, "busy"), Source(s, "quiet")
        for source in (busy, quiet):
            source.write(100)
            s.has(source.sandbox, 100)
        path = "/v1/logs?sandbox=busy&sandbox=quiet&follow=1&tail=0"
        sse = Sse(s.port, path, reconnect=False)
        until(lambda: sse.status == 200, 10, "connected")
        busy.write(3)
        sse.wait(3)
        sse.close()
        quiet.write(5)
        busy.write(5)
        for source, lines in ((quiet, 105), (busy, 108)):
            s.has(source.sandbox, lines)
        again = Sse(s.port, path, headers={"Last-Event-ID": sse.logs()[2][1]}, reconnect=False)
        again.wait(10)
        quiet.write(1)
        again.wait(11)
        assert seen(again, "quiet") == list(range(101, 107)), seen(again, "quiet")
        assert seen(again, "busy") == list(range(104, 109)), seen(again, "busy")
        again.close()


def the_command_reads_who_comes_later_from_its_first_line():
    with System() as s:
        old = Source(s, "old")
        old.write(10)
        s.has("old", 10)
        s.put("old", labels={"app": "web"})
        p = subprocess.Popen([os.path.join(BIN, "sandlog"), "logs", "-f", "-n", "1", "-l", "app=web"], stdout=subprocess.PIPE,
                             env=dict(os.environ, SANDLOG_SERVER=f"http://127.0.0.1:{s.port}"))
        try:
            first = p.stdout.readline()
            assert first == b"[old] " + old.written[-1][2] + b"\n", first
            s.put("new", labels={"app": "web"})
            new = Source(s, "new")
            new.write(7)
            new.exit(0)
            got = [p.stdout.readline() for _ in range(7)]
            assert got == [b"[new] " + t + b"\n" for _, _, t in new.written], got
        finally:
            p.kill()
            p.wait()


if __name__ == "__main__":
    main([the_command_reads_who_comes_later_from_its_first_line,
          a_quiet_member_is_not_sent_again_from_its_beginning, a_sandbox_that_comes_to_match_is_read_from_its_first_line])
