# SPDX-License-Identifier: Apache-2.0
"""A sandbox id that is used anew after DELETE is a sandbox like any other: it has its host and labels, and it ends.

A collector that had learned of the deletion kept silent about every later end of that id, so that the new sandbox ran for
ever; and where it had not learned of it, it never told host and labels again, so that a stop took the broker's five seconds."""
import shutil
import time

from harness import Source, Sse, System, main, until


def a_reused_id_ends_when_its_new_command_ends():
    with System() as s:
        old = Source(s, "box")
        old.write(50)
        s.has("box", 50)
        assert s.request("DELETE", "/v1/sandboxes/box")[0] == 204
        shutil.rmtree(f"{s.logs}/box")
        # the collector sends the file's end, and is told that it is buried; nobody can see that from outside
        time.sleep(2.5)
        assert s.info("box") is None, "the end of the old files is nobody's end"
        new = Source(s, "box", seed=1)
        new.write(4)
        sse = Sse(s.port, s.url("box", follow=1, wait="10s"), reconnect=False)
        sse.wait(4)
        new.exit(7)
        sse.wait_end(10)
        assert sse.ended == {"reason": "stopped", "exit_code": 7, "last_seq": 4, "lost": 0}, sse.ended
        assert s.info("box")["host"]


def a_reused_id_stops_at_once_while_an_old_file_still_grows():
    with System() as s:
        old = Source(s, "box")
        old.write(50)
        s.has("box", 50)
        assert s.request("DELETE", "/v1/sandboxes/box")[0] == 204
        new = Source(s, "box", container="other")
        new.write(7)
        s.has("box", 7)
        old.write(5)
        until(lambda: s.info("box")["host"], 5, "the host is told again")
        s.put("box", state="stopped", exit_code=9)
        start = time.monotonic()
        until(lambda: s.info("box")["state"] == "stopped", 10, "stopped")
        took = time.monotonic() - start
        info = s.info("box")
        assert info["exit_code"] == 9 and info["lines"] == 7, info
        assert took < 4, f"by the collector's word, not by the broker's five seconds: {took:.1f} s"


def what_runs_again_by_put_ends_when_its_files_are_removed():
    """The collector had said one end, knew nothing of the PUT, and let the files go without a word."""
    with System() as s:
        source = Source(s, "box")
        source.write(5)
        s.has("box", 5)
        s.put("box", state="stopped", exit_code=3)
        until(lambda: s.info("box")["state"] == "stopped", 10, "stopped")
        s.put("box", state="running")
        source.write(5)
        s.has("box", 10)
        shutil.rmtree(f"{s.logs}/box")
        until(lambda: s.info("box")["state"] == "stopped", 10, "stopped because its files are gone")
        assert s.info("box")["lines"] == 10


if __name__ == "__main__":
    main([what_runs_again_by_put_ends_when_its_files_are_removed, a_reused_id_ends_when_its_new_command_ends,
          a_reused_id_stops_at_once_while_an_old_file_still_grows])
