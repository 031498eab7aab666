# SPDX-License-Identifier: Apache-2.0
"""sandlog up with the real daemons, and the commands against it, as a new user meets them."""
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading

from cli_faults import SANDLOG, environment, sandlog
from harness import BIN, PATIENCE, main, skip, until

DAEMONS = ("sandlog-broker", "sandlog-gateway", "sandlog-collector")
if not all(os.access(os.path.join(BIN, name), os.X_OK) for name in DAEMONS):
    skip("the daemons are not built")


class Up:
    def __init__(self, *args, folder=None, listen="127.0.0.1:0", **more):
        self.folder = folder or tempfile.mkdtemp(prefix="sandlog-up-")
        self.own = folder is None
        env = {k: v for k, v in os.environ.items() if not k.startswith("SANDLOG_") or k.startswith("SANDLOG_LOG")}
        self.process = subprocess.Popen([SANDLOG, "up", "--listen", listen, *args], cwd=self.folder, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=dict(env, **more))
        self.err = b""
        threading.Thread(target=self.gather, daemon=True).start()
        self.banner = b""
        while not self.banner.endswith(b"stops it all.\n"):
            line = self.process.stdout.readline()
            assert line, (self.process.wait(timeout=20), self.err)
            self.banner += line
        self.url = re.search(rb"http://[^/\s]+", self.banner)[0].decode()
        self.pids = self.children()

    def gather(self):
        for line in self.process.stderr:
            self.err += line

    def children(self):
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as f:
                    name, rest = f.read().rsplit(")", 1)
                if int(rest.split()[1]) == self.process.pid and rest.split()[0] != "Z":
                    with open(f"/proc/{pid}/cmdline") as f:
                        found[os.path.basename(f.read().split("\0")[0]).removeprefix("sandlog-")] = int(pid)
            except (OSError, ValueError):
                pass
        return found

    def log_dir(self):
        return self.folder + "/sandlog-data/sandboxes"

    def run(self, id, *command):
        p = subprocess.run([SANDLOG, "run", "--id", id, "--", *command], cwd=self.folder, capture_output=True, timeout=60 * PATIENCE)
        return p.returncode, p.stdout, p.stderr

    def sandlog(self, *args):
        return sandlog(self.url, *args)

    def stopped(self, id):
        def there():
            box = [b for b in json.loads(self.sandlog("ps", "-a", "-o", "json")[1]) if b["id"] == id]
            return box and box[0]["state"] == "stopped" and box[0]
        return until(there, 20, id + " stopped")

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(timeout=40 * PATIENCE)
        assert not any(alive(pid) for pid in self.pids.values())
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            until(lambda: not any(alive(pid) for pid in self.pids.values()), 10, "nobody left behind")
        self.process.stdout.close()
        if self.own:
            shutil.rmtree(self.folder, ignore_errors=True)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def a_new_user_runs_a_command_and_reads_its_log():
    with Up() as up:
        assert up.banner.count(b"\n") < 12 and b"sandlog run" in up.banner and b"\x1b" not in up.banner, up.banner
        code, out, err = up.run("hello", "sh", "-c", "echo one; echo two >&2; printf three; exit 3")
        assert (code, out, err) == (3, b"one\nthree", b"two\n")
        code, out, err = up.sandlog("logs", "-f", "--wait", "20s", "hello")  # until the end, so that all is there
        assert (code, err) == (0, "") and out in (b"one\ntwo\nthree", b"two\none\nthree"), (code, out, err)
        box = up.stopped("hello")
        assert box["exit_code"] == 3 and box["lines"] == 3, box
        code, out, _ = up.sandlog("logs", "-t", "-n", "1", "hello")
        assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z \w+\n?", out), out
        assert up.sandlog("logs", "--stream", "stderr", "hello")[1] == b"two\n"
        assert up.sandlog("logs", "--grep", "^T", "-i", "--stream", "stderr", "hello")[1] == b"two\n"
        assert up.sandlog("logs", "-f", "hello")[0] == 0, "of a stopped sandbox -f prints what there is"
        assert b"hello" not in up.sandlog("ps")[1] and b"hello" in up.sandlog("ps", "-a")[1]
        code, _, err = up.sandlog("logs", "nobody")
        assert code == 1 and err == 'sandlog: no sandbox "nobody"\n', err
        code, _, err = up.sandlog("logs", "--grep", "(", "hello")
        assert code == 1 and err == "sandlog: --grep: the pattern has a ( without its )\n", err
        assert up.stop() == 0 and up.err == b"", up.err


def a_follower_started_first_sees_every_line_and_the_end():
    with Up() as up:
        p = subprocess.Popen([SANDLOG, "logs", "-f", "--wait", "30s", "box"], stdout=subprocess.PIPE, env=environment(up.url))
        up.run("box", "sh", "-c", "for i in 1 2 3 4 5; do echo $i; done; exit 1")
        assert p.communicate(timeout=30 * PATIENCE)[0] == b"1\n2\n3\n4\n5\n" and p.returncode == 0


def followers_survive_kills_of_each_daemon():
    with Up() as up:
        script = "i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo line $i; [ $((i%20)) = 0 ] && sleep 0.02; done"
        p = subprocess.Popen([SANDLOG, "logs", "-f", "--wait", "30s", "box"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env=environment(up.url))
        r = subprocess.Popen([SANDLOG, "run", "--id", "box", "--", "sh", "-c", script], cwd=up.folder, stdout=subprocess.DEVNULL)
        got = []
        for name in ("gateway", "broker", "collector", "gateway"):
            for _ in range(500):
                got.append(p.stdout.readline())
            old = up.pids[name]
            os.kill(old, signal.SIGKILL)
            until(lambda: up.children().get(name, old) != old, 20, name + " started again")
            up.pids = up.children()
        got += p.stdout.readlines()
        assert p.wait(timeout=60 * PATIENCE) == 0 and r.wait(timeout=60 * PATIENCE) == 0, p.stderr.read()
        assert got == [b"line %d\n" % (i + 1) for i in range(4000)], (len(got), got[:3], got[-3:])
        p.stdout.close()
        p.stderr.close()
        assert up.err.count(b"was killed by signal 9; starting it again") == 4, up.err
        assert up.stop(signal.SIGINT) == 0


def what_was_stored_is_there_after_a_restart():
    with Up() as up:
        up.run("box", "echo", "kept")
        up.stopped("box")
        assert up.stop() == 0
        with Up(folder=up.folder) as again:
            assert again.sandlog("logs", "box")[1] == b"kept\n"
            again.run("box", "echo", "more")
            until(lambda: again.sandlog("logs", "box")[1] == b"kept\nmore\n", 20, "the second run behind the first")


def a_second_one_on_the_same_data_or_port_says_so():
    with Up() as up:
        p = subprocess.run([SANDLOG, "up", "--listen", "127.0.0.1:0"], cwd=up.folder, capture_output=True, text=True, timeout=30)
        assert p.returncode == 1 and p.stderr.count("\n") == 1 and "in use" in p.stderr and str(up.process.pid) in p.stderr, p.stderr
        with tempfile.TemporaryDirectory() as other:
            address = up.url.removeprefix("http://")
            p = subprocess.run([SANDLOG, "up", "--listen", address], cwd=other, capture_output=True, text=True, timeout=30)
            assert p.returncode == 1 and p.stderr.count("\n") == 1 and address in p.stderr, p.stderr
        assert up.sandlog("ps")[0] == 0
        with Up() as beside:
            assert beside.url != up.url and beside.sandlog("ps")[0] == 0


def killed_it_leaves_nobody_behind():
    with Up() as up:
        assert len(up.pids) == 3, up.pids
        up.process.kill()
        up.process.wait()
        until(lambda: not any(alive(pid) for pid in up.pids.values()), 10, "the daemons gone")
        with Up(folder=up.folder) as again:  # and nothing stands in the way of the next
            assert again.sandlog("ps")[0] == 0


def a_long_path_is_no_trouble():
    with tempfile.TemporaryDirectory(prefix="sandlog-up-") as folder:
        with Up("--data", folder + "/" + "long" * 40) as up:
            p = subprocess.run([SANDLOG, "run", "--id", "box", "--log-dir", folder + "/" + "long" * 40 + "/sandboxes", "echo", "hi"])
            assert p.returncode == 0
            until(lambda: up.sandlog("logs", "box")[1] == b"hi\n", 20, "the line")


def it_watches_what_else_it_is_told():
    with tempfile.TemporaryDirectory(prefix="sandlog-up-") as folder:
        with Up("--watch", f"plain:{folder}/{{sandbox}}.txt") as up:
            with open(folder + "/other.txt", "w") as f:
                f.write("from a plain file\n")
            until(lambda: up.sandlog("logs", "other")[1] == b"from a plain file\n", 20, "the line of the other file")


def what_cannot_start_is_said_and_ends_it():
    with tempfile.TemporaryDirectory(prefix="sandlog-up-") as folder:
        for args, words, status in ((["--watch", "xml:/x/{sandbox}"], ["xml"], 2), (["--data", "/proc/nothing"], ["/proc/nothing"], 1),
                                    (["--listen", "192.0.2.1:1"], ["192.0.2.1:1"], 1)):
            p = subprocess.run([SANDLOG, "up", "--listen", "127.0.0.1:0", *args], cwd=folder, capture_output=True, text=True, timeout=60 * PATIENCE)
            assert p.returncode == status and p.stdout == "" and all(w in p.stderr for w in words) and p.stderr.count("\n") <= 2, (args, p)


def the_canary_sings():
    with Up() as up:
        p = subprocess.run([SANDLOG, "canary", "--seconds", "1", "--rate", "500", "--late", "30s"], cwd=up.folder, capture_output=True, text=True,
                           env=environment(up.url), timeout=90 * PATIENCE)
        assert p.returncode == 0 and re.fullmatch(r"missing 0, doubled 0, late 0, p50 \S+, p99 \S+\n", p.stdout) and p.stderr == "", p
        assert os.listdir(up.log_dir()) == []
        p = subprocess.run([SANDLOG, "canary", "--seconds", "1", "--late", "1ns", "--json"], cwd=up.folder, capture_output=True, text=True,
                           env=environment(up.url), timeout=90 * PATIENCE)
        result = json.loads(p.stdout)
        assert p.returncode == 1 and result["late"] == result["written"] == result["read"] and not result["ok"], p


if __name__ == "__main__":
    main([a_new_user_runs_a_command_and_reads_its_log, a_follower_started_first_sees_every_line_and_the_end,
          followers_survive_kills_of_each_daemon, what_was_stored_is_there_after_a_restart,
          a_second_one_on_the_same_data_or_port_says_so, killed_it_leaves_nobody_behind, a_long_path_is_no_trouble,
          it_watches_what_else_it_is_told, what_cannot_start_is_said_and_ends_it, the_canary_sings])
