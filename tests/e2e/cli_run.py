# SPDX-License-Identifier: Apache-2.0
"""sandlog run: the command's output passes through and is in the log, its end is told, whatever happens to either. No
daemon is needed: the log is read back from its file."""
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time

from harness import BIN, PATIENCE, main, until

SANDLOG = os.path.join(BIN, "sandlog")


class Folder:
    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="sandlog-run-")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path)

    def command(self, *args, id="box"):
        return [SANDLOG, "run", "--id", id, "--log-dir", self.path, "--", *args]

    def run(self, *args, id="box", **more):
        p = subprocess.run(self.command(*args, id=id), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60 * PATIENCE, **more)
        return p.returncode, p.stdout, p.stderr

    def records(self, id="box", name="main.log"):
        out = []
        with open(f"{self.path}/{id}/{name}", "rb") as f:
            for line in f.read().split(b"\n")[:-1]:
                m = re.fullmatch(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (stdout|stderr) ([FP]) (.*)", line, re.S)
                assert m, line[:100]
                assert len(m[4]) <= 16384
                out.append((m[2].decode(), m[3], m[4]))
        return out

    def text(self, stream, id="box"):
        return b"".join(text + (b"\n" if kind == b"F" else b"") for s, kind, text in self.records(id) if s == stream)

    def exit_code(self, id="box"):
        try:
            with open(f"{self.path}/{id}/exit_code") as f:
                return f.read()
        except FileNotFoundError:
            return None


def output_passes_through_and_is_the_log():
    with Folder() as f:
        code, out, err = f.run("sh", "-c", "printf 'one\\n\\ntwo'; printf 'err\\r\\n\\0\\377' >&2; exit 3")
        assert (code, out, err) == (3, b"one\n\ntwo", b"err\r\n\0\xff"), (code, out, err)
        assert f.text("stdout") == out and f.text("stderr") == err and f.exit_code() == "3\n"
        assert sorted(os.listdir(f.path + "/box")) == ["exit_code", "main.log"]


def a_flood_of_every_kind_of_line_is_whole():
    script = ("import os,random\nr=random.Random(5)\nfor i in range(3000):\n"
              "  os.write(1+i%2, r.randbytes(r.choice((0,1,10,200,3000,40000)))+b'\\n'*r.randint(0,2))\n")
    with Folder() as f:
        code, out, err = f.run("python3", "-c", script)
        assert code == 0 and len(out) > 1 << 20 and f.text("stdout") == out and f.text("stderr") == err


def text_without_a_newline_is_in_the_log_while_its_writer_waits():
    with Folder() as f:
        p = subprocess.Popen(f.command("sh", "-c", "printf 'password: '; read x; echo got $x"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        until(lambda: os.path.exists(f.path + "/box/main.log") and f.text("stdout") == b"password: ", 10, "the prompt in the log")
        assert f.exit_code() is None
        out, _ = p.communicate(b"sesame\n", timeout=20)
        assert out == b"password: got sesame\n" == f.text("stdout") and f.exit_code() == "0\n"


def the_exit_status_is_a_shells():
    with Folder() as f:
        for args, status in ((("sh", "-c", "exit 42"), 42), (("sh", "-c", "kill -9 $$"), 137), (("sh", "-c", "kill -TERM $$"), 143),
                             (("no-such-program-anywhere",), 127), (("/etc/passwd",), 126), (("/",), 126)):
            code, _, err = f.run(*args)
            assert code == status and f.exit_code() == f"{status}\n", (args, code, err)
            if status in (126, 127):
                assert err.count(b"\n") == 1 and args[0].encode() in err and args[0].encode() in f.text("stderr"), err


def signals_reach_the_command():
    with Folder() as f:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            id = f"box-{number}"
            p = subprocess.Popen(f.command("sh", "-c", f"trap 'echo caught; exit 9' {int(number)}; echo ready; while :; do sleep 0.01; done", id=id),
                                 stdout=subprocess.PIPE)
            assert p.stdout.readline() == b"ready\n"
            p.send_signal(number)
            assert p.communicate(timeout=20 * PATIENCE)[0] == b"caught\n" and p.returncode == 9 and f.exit_code(id) == "9\n"


def a_command_keeps_the_signals_it_was_given():
    with Folder() as f:
        code, out, _ = f.run("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
        glibcs = 3 << 31  # 32 and 33 are its own; its posix_spawn leaves them ignored
        assert code == 0 and [int(line.split()[1], 16) & ~glibcs for line in out.splitlines()] == [0, 0], out


def a_process_left_behind_does_not_hold_it_up():
    with Folder() as f:
        begun = time.monotonic()
        code, out, _ = f.run("sh", "-c", "sleep 30 & echo $!; echo done; exit 4")
        left, done = out.split(b"\n", 1)
        os.kill(int(left), signal.SIGKILL)
        assert code == 4 and done == b"done\n" and f.exit_code() == "4\n" and time.monotonic() - begun < 20
        # one that still writes is given up too, in the end
        begun = time.monotonic()
        code, out, _ = f.run("sh", "-c", "(while sleep 0.1; do echo tick || exit; done) & exit 5")
        assert code == 5 and time.monotonic() - begun < 25 * PATIENCE, code


def what_was_written_just_before_the_end_is_there():
    with Folder() as f:
        for i in range(50):
            code, out, _ = f.run("sh", "-c", f"echo {i}; (echo late {i}) & wait; kill -9 $$", id=f"box-{i}")
            assert code == 137 and f.text("stdout", f"box-{i}") == f"{i}\nlate {i}\n".encode() == out, (i, out)


def an_id_used_again_gets_a_new_file_and_keeps_the_old_one():
    with Folder() as f:
        for i in range(3):
            f.run("echo", str(i))
        names = sorted(os.listdir(f.path + "/box"))
        assert len(names) == 4 and names[:2] == ["exit_code", "main.log"] and f.text("stdout") == b"2\n", names
        kept = [n for n in names if n.startswith("main.log.")]
        assert sorted(f.records("box", n)[0][2] for n in kept) == [b"0", b"1"]


def two_at_a_time_cannot_have_one_id():
    with Folder() as f:
        p = subprocess.Popen(f.command("cat"), stdin=subprocess.PIPE)
        until(lambda: os.path.exists(f.path + "/box/main.log"), 10, "the first runs")
        code, _, err = f.run("true")
        assert code == 1 and b'"box" is running already' in err, err
        p.communicate(timeout=20)
        assert p.returncode == 0 and f.run("true")[0] == 0


def a_made_id_is_told_apart():
    with Folder() as f:
        for _ in range(3):
            subprocess.run([SANDLOG, "run", "--log-dir", f.path, "true"], check=True)
        names = os.listdir(f.path)
        assert len(names) == 3 and all(re.fullmatch(r"run-\d{8}-\d{6}-[0-9a-f]{4}", n) for n in names), names


def a_log_that_cannot_be_written_does_not_stop_the_command():
    """RLIMIT_FSIZE stands for a full disk: it cuts a write in the middle as well."""
    with Folder() as f:
        def small():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        code, out, err = f.run("sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; exit 7", preexec_fn=small)
        assert code == 7 and out.count(b"\n") == 2000, (code, err)
        assert err.count(b"cannot write the log") == 1 and b"bytes of the log could not be written" in err, err


def nobody_has_to_read_its_output():
    with Folder() as f:
        p = subprocess.Popen(f.command("sh", "-c", "for i in 1 2 3 4 5; do seq 20000; done"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        p.stdout.readline()
        p.stdout.close()
        assert p.wait(timeout=60 * PATIENCE) == 0 and f.text("stdout").count(b"\n") == 100000 and p.stderr.read() == b""
        p.stderr.close()


def a_folder_that_cannot_be_written_is_said_before_anything_runs():
    with Folder() as f:
        open(f.path + "/file", "w").close()
        p = subprocess.run([SANDLOG, "run", "--log-dir", f.path + "/file", "--", "echo", "ran"], capture_output=True)
        assert p.returncode == 1 and p.stdout == b"" and p.stderr.count(b"\n") == 1 and b"not a directory" in p.stderr, p.stderr


if __name__ == "__main__":
    main([output_passes_through_and_is_the_log, a_flood_of_every_kind_of_line_is_whole,
          text_without_a_newline_is_in_the_log_while_its_writer_waits, the_exit_status_is_a_shells, signals_reach_the_command,
          a_command_keeps_the_signals_it_was_given, a_process_left_behind_does_not_hold_it_up,
          what_was_written_just_before_the_end_is_there, an_id_used_again_gets_a_new_file_and_keeps_the_old_one,
          two_at_a_time_cannot_have_one_id, a_made_id_is_told_apart, a_log_that_cannot_be_written_does_not_stop_the_command,
          nobody_has_to_read_its_output, a_folder_that_cannot_be_written_is_said_before_anything_runs])
