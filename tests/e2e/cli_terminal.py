# SPDX-License-Identifier: Apache-2.0
"""What a person sees: the command under a pseudo-terminal. A hostile log line must not reach the terminal as anything but
text and colours; outside a terminal every byte must."""
import fcntl
import os
import pty
import re
import select
import subprocess
import tempfile
import termios
import threading
import time

from cli_export import Exporter, lines
from cli_faults import SANDLOG, Gateway, environment
from harness import PATIENCE, main, until


class Terminal:
    """The command with stdout and stderr (and stdin) on a terminal of 24 by 80."""

    def __init__(self, gateway, *args, stdout=None, **more):
        self.master, slave = pty.openpty()
        env = environment(gateway, **dict({"TERM": "xterm"}, **more))
        self.process = subprocess.Popen([SANDLOG, *args], stdin=slave, stdout=stdout or slave, stderr=slave, env=env, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.seen = b""

    def read(self):
        if select.select([self.master], [], [], 0.02)[0]:
            try:
                self.seen += os.read(self.master, 65536)
            except OSError:
                return False
        return True

    def shows(self, text, seconds=20):
        until(lambda: (self.read(), text in self.seen)[1], seconds, f"{text!r} on the terminal; there is {self.seen!r}")

    def type(self, keys):
        os.write(self.master, keys)

    def finish(self, seconds=20):
        deadline = time.monotonic() + seconds * PATIENCE
        while self.read():
            assert time.monotonic() < deadline, self.seen
        code = self.process.wait(timeout=20 * PATIENCE)
        os.close(self.master)
        return code, self.seen.replace(b"\r\n", b"\n")  # the line discipline's


HOSTILE = [
    b"\x1b]52;c;cm0gLXJm\x07 clipboard", b"\x1b]0;owned\x1b\\ title", b"\x1b[2J\x1b[H\x1b[3J cleared", b"\x1b[6n\x1b[c answers typed",
    b"\x1bPq#0;2\x1b\\ sixel", b"\x1b[?1049h other screen", b"harmless\rHACKED!!", b"abc\x08\x08\x08xyz", b"\xc2\x9b2J \x9b2J \x90 c1",
    b"\x1b[8mhidden\x1b[0m", b"\xe2\x80\xaetxt.exe", b"bell\x07 nul\x00 del\x7f", b"\xff\xfe not utf-8", b"\x1b[31", b"\x1b",
    b"\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\",
]


def hostile_lines_are_shown_as_text():
    for args in (["logs", "box"], ["logs", "-t", "box"], ["logs", "-f", "a", "b"], ["logs", "-o", "json", "box"]):
        with Gateway(HOSTILE) as g:
            code, seen = Terminal(g, *args).finish()
        assert code == 0
        ours = re.sub(rb"\x1b\[[0-9;]*m", b"", seen)
        bad = re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", ours)
        assert not bad, (args, ours[max(0, bad.start() - 40):bad.end() + 20])
        text = ours.decode()  # and it is UTF-8
        assert not re.search("[\x80-\x9f\u202a-\u202e\u2066-\u2069]", text), text
        assert b"[8m" not in re.findall(rb"\x1b(\[[0-9;]*m)", seen)
        if "json" not in args:
            assert "^[]52;c;cm0gLXJm^G clipboard" in text and "harmless\\rHACKED!!" in text and "\\u202etxt.exe" in text, text
            assert text.count("\n") - text.count("sandlog: ") == len(HOSTILE) * (2 if "b" in args else 1), text


def colours_of_the_log_stay_and_end_with_their_line():
    with Gateway([b"\x1b[1;31mred and on", b"plain", b"crlf of a program on a terminal\r"]) as g:
        code, seen = Terminal(g, "logs", "box").finish()
    assert code == 0 and seen == b"\x1b[1;31mred and on\x1b[0m\nplain\ncrlf of a program on a terminal\n", seen


def raw_opts_out():
    with Gateway(HOSTILE) as g:
        code, seen = Terminal(g, "logs", "--raw", "box").finish()
    assert code == 0 and HOSTILE[0] in seen and HOSTILE[2] in seen, seen


def outside_a_terminal_every_byte_passes():
    with Gateway(HOSTILE) as g:
        p = subprocess.run([SANDLOG, "logs", "box"], capture_output=True, env=environment(g))
        assert p.returncode == 0 and p.stdout == b"".join(line + b"\n" for line in HOSTILE) and p.stderr == b""


def prefixes_have_colours_unless_they_are_not_wanted():
    for more, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)):
        with Gateway([b"x"]) as g:
            code, seen = Terminal(g, "logs", "-f", "web-1", "web-2", **more).finish()
        assert code == 0 and (b"\x1b[" in seen) == coloured and b"[web-1]" in seen, (more, seen)


def a_lost_connection_is_told_and_its_end_too():
    with Gateway([b"one", b"two"], lambda g, r: g.events(0, {}).index(b"id: c-2") if r["n"] == 0 else None) as g:
        code, seen = Terminal(g, "logs", "-f", "box").finish()
    assert code == 0 and b"one\nsandlog: connection lost; reconnecting...\nsandlog: connected again\ntwo\n" in seen, seen
    assert b"box stopped with exit code 0" in seen, seen


def ctrl_c_on_the_terminal_ends_it_with_130():
    with Gateway([b"\x1b[31mred"], follow_ends=False) as g:
        t = Terminal(g, "logs", "-f", "box")
        t.shows(b"red")
        t.type(b"\x03")
        code, seen = t.finish()
    assert code == 130 and seen.rstrip().endswith(b"\x1b[0m"), (code, seen)


def who_waits_for_a_file_sees_it_grow():
    """stdout goes elsewhere and it takes longer than a second: a line on the terminal tells how far it is, and goes away."""
    lines = [b"y" * 100] * 50
    asked, go_on = threading.Event(), threading.Event()

    def plan(g, r):
        if r["n"] == 0:
            return 4000
        asked.set()
        assert go_on.wait(60)
        return None
    with Gateway(lines, plan) as g, tempfile.TemporaryFile() as file:
        t = Terminal(g, "logs", "box", stdout=file)
        assert asked.wait(60)
        t.shows(b"15 lines, 1.5KiB ...")
        go_on.set()
        code, seen = t.finish()
        file.seek(0)
        assert code == 0 and file.read() == b"".join(line + b"\n" for line in lines)
        shown = [part.split(b"\r\x1b[K")[-1] for part in seen.split(b"\n")]  # what is left of each line in the end
        assert shown == [b"sandlog: connection lost; reconnecting...", b"sandlog: connected again", b""], seen


def run_names_its_sandbox_and_ctrl_c_reaches_the_command_once():
    with tempfile.TemporaryDirectory(prefix="sandlog-run-") as folder:
        t = Terminal("http://127.0.0.1:9", "run", "--id", "box", "--log-dir", folder, "--", "sh", "-c",
                     "trap 'echo caught; n=1; exit 5' INT; echo ready; while :; do sleep 0.01; done")
        t.shows(b"ready")
        assert b"sandlog logs -f box" in t.seen, t.seen
        t.type(b"\x03")
        code, seen = t.finish()
        assert code == 5 and seen.count(b"caught") == 1, seen
        with open(folder + "/box/exit_code") as f:
            assert f.read() == "5\n"


def who_waits_at_a_terminal_sees_for_whom():
    """An answer that takes longer than a second: a line says so, and is gone before what comes is printed."""
    for args, answer in ((["logs", "box"], None), (["ps"], (200, "application/json", b'{"sandboxes":[]}'))):
        go_on = threading.Event()

        def plan(g, r):
            assert go_on.wait(60)
            return answer
        with Gateway([b"at last"], plan) as g:
            t = Terminal(g, *args)
            t.shows(b"waiting for http://127.0.0.1")
            go_on.set()
            code, seen = t.finish()
        shown = seen[seen.rindex(b"\r\x1b[K") + 4:]
        assert code == 0 and shown.startswith(b"at last" if "logs" in args else b"ID") and b"waiting" not in shown, seen


def an_export_shows_how_far_it_is():
    server = Exporter(lines(300))
    with tempfile.TemporaryDirectory(prefix="sandlog-export-") as folder:
        t = Terminal(server, "export", "archive", "--to", folder + "/out", "--batch-age", "300ms")
        t.shows(b"300 lines, ")
        t.shows(b" lines/s, 0 lines behind")
        until(lambda: (t.read(), server.places["archive"] == 300)[1], 20, "it is acknowledged")
        t.type(b"\x03")
        code, seen = t.finish()
        assert code == 130 and seen.endswith(b"\r\x1b[Ksandlog: exported 300 lines, 12KiB\n"), seen
    server.close()


if __name__ == "__main__":
    main([hostile_lines_are_shown_as_text, colours_of_the_log_stay_and_end_with_their_line, raw_opts_out,
          outside_a_terminal_every_byte_passes, prefixes_have_colours_unless_they_are_not_wanted,
          a_lost_connection_is_told_and_its_end_too, ctrl_c_on_the_terminal_ends_it_with_130, who_waits_for_a_file_sees_it_grow,
          who_waits_at_a_terminal_sees_for_whom, an_export_shows_how_far_it_is, run_names_its_sandbox_and_ctrl_c_reaches_the_command_once])
