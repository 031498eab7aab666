# SPDX-License-Identifier: Apache-2.0
"""What the collector may and what it does not: no file outside the roots, whatever is swapped under it; nothing written; a user of its
own with one capability; and what an operator does wrong."""
import os
import re
import shutil
import signal
import subprocess
import time

from collector_direct import Direct, compare, in_background
from harness import BIN, PATIENCE, Source, main, until
from world import faketime_library, forget_clock

CAPABLE = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--inh-caps=-all,+dac_read_search",
           "--ambient-caps=-all,+dac_read_search", "--bounding-set=-all,+dac_read_search"]


def sanitized():
    """Built with a sanitizer: it writes its own report and can't have another library before it."""
    with open(os.path.join(BIN, "sandlog-collector"), "rb") as f:
        program = f.read()
    return b"__asan_init" in program or b"__tsan_init" in program


def wrapped(s, *words):
    """The collector is started behind these words."""
    command = s.command
    s.command = lambda name: (list(words) if name == "collector" else []) + command(name)


def folders_swapped_for_symlinks_show_nothing_of_what_is_outside():
    with Direct(["plain:LOGS/{sandbox}/{container}/x.log"]) as s:
        outside = s.dir + "/outside"
        os.makedirs(outside + "/c")
        with open(outside + "/c/x.log", "w") as f:
            f.write("secret\n" * 100)
        written, stop = [0], []

        def swap(i):
            inside = f"{s.logs}/box{i}"
            while not stop:
                for at, target in ((inside, outside), (inside + "/c", outside + "/c")):
                    os.makedirs(inside + "/c", exist_ok=True)
                    with open(inside + "/c/x.log", "a") as f:
                        f.write("mine\n")
                        written[0] += 1
                    os.rename(at, inside + "-")
                    os.symlink(target, at)
                    with open(outside + "/c/x.log", "a") as f:
                        f.write("secret\n")
                    os.unlink(at)
                    shutil.rmtree(inside + "-")
        threads = [in_background(swap, i) for i in range(3)]
        time.sleep(2)
        stop.append(True)
        for t in threads:
            t.join()
        last = Source(s, "last", container="c", form="plain", path=s.logs + "/last/c/x.log")
        last.write(1)
        s.has("last", 1)
        seen = 0
        for i in range(3):
            lines = {o["line"] for o in s.lines(f"box{i}")}
            seen += s.count(f"box{i}")
            assert lines <= {b"mine"}, lines
        assert seen > 0
        print(f"   {written[0]} swaps, {seen} lines, none from outside")


def nothing_is_opened_for_writing():
    if not shutil.which("strace") or sanitized():
        return print("   skipped: no strace, or a sanitizer's build")
    with Direct(start=False) as s:
        trace = s.dir + "/trace"
        wrapped(s, "strace", "-f", "-qq", "-o", trace, "-e", "trace=open,openat,openat2,creat,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,"
                "link,linkat,symlink,symlinkat,truncate,ftruncate,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,utimensat,mknod,mknodat,setxattr")
        s.start("broker")
        s.start("collector")
        s.up()
        source = Source(s, "box")
        for turn in range(3):
            source.write(50)
            s.has("box", len(source.written), 40)
            source.rotate(f".20261120-00000{turn}")
            source.write(50)
        source.exit(0)
        s.stopped("box", 40)
        compare(source, s.lines("box"), "traced")
        pid = int(subprocess.run(["pgrep", "-P", str(s.process["collector"].pid)], stdout=subprocess.PIPE).stdout.split()[0])
        os.kill(pid, signal.SIGTERM)
        s.process.pop("collector").wait(20 * PATIENCE)
        with open(trace) as f:
            calls = [line for line in f if " = -1 " not in line and "+++" not in line and "---" not in line]
        # threads are named in /proc/self; of files, none is opened but to be read
        bad = [c for c in calls if re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND", c) and not re.search('"/dev/null|"/proc/self/task/[0-9]+/comm"', c)]
        bad += [c for c in calls if not re.search(r"\b(open|openat|openat2)\(", c) and "resumed" not in c]
        assert calls and not bad, bad[:5]
        assert any("openat2" in c and "main.log" in c for c in calls)


def one_capability_is_enough():
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return print("   not root, or no setpriv")
    with Direct(start=False) as s:
        folder = s.logs + "/box"
        os.makedirs(folder)
        os.chmod(s.dir, 0o755)
        os.chmod(folder, 0o700)
        wrapped(s, *CAPABLE)
        s.start("broker")
        until(lambda: os.path.exists(s.dir + "/ingest.sock"), 10, "the broker listens")
        os.chmod(s.dir + "/ingest.sock", 0o777)
        s.start("collector")
        s.up()
        with open(f"/proc/{s.process['collector'].pid}/status") as f:
            status = dict(line.split(":", 1) for line in f)
        assert status["Uid"].split() == ["65534"] * 4, status["Uid"]
        for kind in ("CapPrm", "CapEff", "CapBnd"):
            assert int(status[kind], 16) == 1 << 2, (kind, status[kind])
        source = Source(s, "box")
        os.chmod(source.path, 0o600)
        source.write(10)
        s.has("box", 10)
        source.rotate(".1")
        os.chmod(source.path, 0o600)
        source.write(10)
        s.has("box", 20)
        compare(source, s.lines("box"), "root's own logs")


def what_may_not_be_read_is_said_and_taken_up_when_it_may():
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return print("   not root, or no setpriv")
    with Direct(start=False) as s:
        os.chmod(s.dir, 0o755)
        wrapped(s, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all")
        locked, good = Source(s, "locked"), Source(s, "good")
        os.chmod(locked.path, 0o600)
        os.makedirs(s.logs + "/shut", mode=0o700)
        locked.write(5)
        s.start("broker")
        until(lambda: os.path.exists(s.dir + "/ingest.sock"), 10, "the broker listens")
        os.chmod(s.dir + "/ingest.sock", 0o777)
        s.start("collector")
        s.up()
        good.write(5)
        s.has("good", 5)
        until(lambda: "file.unreadable" in s.errors(), 10, "it is said")
        for _ in range(50):
            locked.write(1)
        assert s.errors().count("file.unreadable") == 1, "said once"
        os.chmod(locked.path, 0o644)
        locked.write(1)
        s.has("locked", 56, 30)
        compare(locked, s.lines("locked"), "unlocked")
        assert not s.gaps("locked")


def the_unit_is_sound():
    if not shutil.which("systemd-analyze"):
        return print("   no systemd-analyze")
    unit = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../collector/sandlog-collector.service")
    with Direct(start=False) as s:
        with open(unit) as f:
            text = f.read()
        with open(s.dir + "/sandlog-collector.service", "w") as f:
            f.write(text.replace("/usr/bin/sandlog-collector", os.path.abspath(BIN + "/sandlog-collector")))
        r = subprocess.run(["systemd-analyze", "verify", "--man=no", s.dir + "/sandlog-collector.service"], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=60 * PATIENCE)
        said = [line for line in r.stdout.decode().splitlines() if "sandlog-collector" in line]
        assert r.returncode == 0 and not said, r.stdout.decode()
        r = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager",
                            s.dir + "/sandlog-collector.service"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60 * PATIENCE)
        print("  ", r.stdout.decode().strip().splitlines()[-1].strip())
        assert r.returncode == 0, r.stdout.decode()


def roots_come_and_go():
    with Direct(["cri:LOGS/later/{sandbox}/{container}.log", "cri:/nowhere/at/all/{sandbox}/x.log"]) as s:
        for turn in range(3):
            source = Source(s, f"box{turn}", path=f"{s.logs}/later/box{turn}/main.log")
            source.write(10)
            s.has(f"box{turn}", 10)
            source.close()
            shutil.rmtree(s.logs + "/later")
            s.stopped(f"box{turn}")
            compare(source, s.lines(f"box{turn}"), "a root that comes and goes")


def few_descriptors_are_enough():
    with Direct(start=False) as s:
        wrapped(s, "sh", "-c", 'ulimit -n 64; exec "$@"', "sh")
        sources = [Source(s, f"box{i}") for i in range(45)]
        s.start("broker")
        s.start("collector")
        s.up()
        for _ in range(2):
            for source in sources:
                source.write(3)
            for source in sources:
                s.has(source.sandbox, len(source.written), 30)
        for source in sources:
            compare(source, s.lines(source.sandbox), "64 descriptors")


def no_watches_left_is_a_sweep():
    """A user namespace of its own has its own limit of watches, so that nobody else on the machine is touched."""
    probe = subprocess.run(["unshare", "-Ur", "sh", "-c", "echo 2 > /proc/sys/user/max_inotify_watches"], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE)
    if probe.returncode != 0:
        return print("   no user namespace here")
    with Direct(start=False) as s:
        wrapped(s, "unshare", "-Ur", "sh", "-c", 'echo 2 > /proc/sys/user/max_inotify_watches; exec "$@"', "sh")
        s.start("broker")
        s.start("collector")
        s.up()
        sources = [Source(s, f"box{i}") for i in range(20)]
        for source in sources:
            source.write(5)
            source.rotate(".1")
            source.write(5)
        for source in sources:
            s.has(source.sandbox, 10, 10)
            compare(source, s.lines(source.sandbox), "swept")
        until(lambda: s.metric("unwatched_folders") >= 18, 10, "folders are told to be unwatched")
        until(lambda: "fs.inotify.max_user_watches" in open(f"{s.dir}/collector.err").read(), 10, "and in the log")


def two_collectors_of_one_host_store_each_line_once():
    """The same files under the same name, by mistake: both read, the broker takes each place once."""
    with Direct() as s:
        sources = [Source(s, f"box{i}") for i in range(5)]
        other = subprocess.Popen([os.path.join(BIN, "sandlog-collector"), "--broker", f"ipc://{s.dir}/ingest.sock", "--http", "127.0.0.1:0",
                                  "--watch", s.watch[0]], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(100):
                for source in sources:
                    source.write(20)
                time.sleep(0.01)
            for source in sources:
                source.rotate(".1")
                source.write(20)
                source.exit(0)
            for source in sources:
                s.has(source.sandbox, 2020, 30)
                s.stopped(source.sandbox)
                compare(source, s.lines(source.sandbox), "two collectors")
                assert not s.gaps(source.sandbox)
        finally:
            other.kill()
            other.wait()


def another_host_name_stores_all_files_once_more():
    """As documented: the host's name is part of what a file is. Under its old name a collector goes on where it was."""
    with Direct() as s:
        source, read, want = Source(s, "box"), {}, []
        for name in ("vm", "other", "other", "vm"):
            s.stop("collector")
            source.write(50)
            s.extra["collector"] = ["--host", name]
            s.start("collector")
            want += source.written[read.get(name, 0):]
            read[name] = len(source.written)
            s.has("box", len(want))
        s.restart("collector")
        source.write(1)
        want += source.written[-1:]
        s.has("box", len(want))
        assert [o["line"] for o in s.lines("box")] == [text for _, _, text in want]
        # nothing that the broker knows is there under the new name, so what of it was unread could not be told
        assert [g["reason"] for g in s.gaps("box")] == ["source-vanished"], s.gaps("box")


def clocks_that_step_lose_nothing():
    """The collector's clock goes forth and back by hours between its lives, the broker's stays: plain lines have its time."""
    library = faketime_library()
    if not library or sanitized():
        return print("   skipped: no faketime, or a sanitizer's build")
    with Direct(["plain:LOGS/{sandbox}/{container}.log", "cri:LOGS/{sandbox}/{container}.cri"], start=False) as s:
        command, shift = s.command, ["+0h"]
        s.command = lambda name: (["env", "LD_PRELOAD=" + library, "FAKETIME=" + shift[0]] if name == "collector" else []) + command(name)
        s.start("broker")
        plain = Source(s, "box", form="plain")
        cri = Source(s, "pod", path=f"{s.logs}/pod/main.cri")
        for step in ("+0h", "+30h", "-30h", "+1h"):
            shift[0] = step
            s.start("collector")
            s.up()
            for source in (plain, cri):
                source.write(50)
                source.rotate(f".{time.time_ns()}")
                source.write(50)
            for source in (plain, cri):
                s.has(source.sandbox, len(source.written), 30)
            pid = s.process["collector"].pid
            s.kill("collector")
            forget_clock(pid)
        for source in (plain, cri):
            compare(source, s.lines(source.sandbox), "clock steps")
            assert not s.gaps(source.sandbox), s.gaps(source.sandbox)


if __name__ == "__main__":
    main([folders_swapped_for_symlinks_show_nothing_of_what_is_outside, nothing_is_opened_for_writing, one_capability_is_enough,
          what_may_not_be_read_is_said_and_taken_up_when_it_may, the_unit_is_sound, roots_come_and_go, few_descriptors_are_enough,
          no_watches_left_is_a_sweep, two_collectors_of_one_host_store_each_line_once, another_host_name_stores_all_files_once_more,
          clocks_that_step_lose_nothing])
