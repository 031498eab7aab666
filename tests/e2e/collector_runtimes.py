# SPDX-License-Identifier: Apache-2.0
"""Real runtimes that are on this machine (podman, containerd, dockerd, all with runc) write, rotate and end; what a reader gets is
what the container wrote, and gaps. Each test skips where its runtime is missing or can't run here."""
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time

from collector_churn import account
from collector_direct import Direct
from harness import PATIENCE, main, skip, until

LINES = 20000
# busybox's shell writes each line with a write(2) of its own, about 100,000 a second
LOOP = "i=0; while [ $i -lt %d ]; do echo \"line $i\"; i=$((i+1)); done" % LINES
BOTH = "i=0; while [ $i -lt 300 ]; do echo \"out $i\"; echo \"err $i\" >&2; i=$((i+1)); done; printf 'no newline'"
done = []


class Ledger:
    def __init__(self, lines):
        self.written = [(None, "stdout", text) for text in lines]


def run(*command, **more):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120 * PATIENCE, **more)


def rootfs(folder):
    """The smallest root that runs a shell: a static busybox. None: there is none."""
    busybox = shutil.which("busybox")
    if not busybox or os.geteuid() != 0 or not shutil.which("runc"):
        return None
    for name in ("bin", "dev", "proc", "sys", "tmp", "etc", "run"):
        os.makedirs(f"{folder}/{name}", exist_ok=True)
    shutil.copy(busybox, folder + "/bin/busybox")
    for name in ("sh", "echo", "printf", "sleep"):
        os.symlink("busybox", f"{folder}/bin/{name}")
    return folder


class Daemon:
    """A daemon in a folder of its own, ended with what it started."""

    def __init__(self, folder, *command):
        os.makedirs(folder, exist_ok=True)
        with open(folder + "/log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def podman_rotates_in_place():
    if not shutil.which("podman"):
        return print("   no podman")
    with Direct() as s:
        root = rootfs(s.dir + "/rootfs")
        podman = ["podman", "--root", s.dir + "/store", "--runroot", s.dir + "/run", "--cgroup-manager=cgroupfs"]
        ours = ["--runtime", "runc", "run", "--rm", "--network=none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000",
                "--log-driver", "k8s-file"]
        if not root or run(*podman, *ours, "--rootfs", root, "/bin/sh", "-c", "true").returncode != 0:
            return print("   podman can't run here")
        for name, size, command in (("fast", 200000, LOOP), ("whole", 1 << 30, BOTH)):
            os.mkdir(f"{s.logs}/{name}")
            path = f"{s.logs}/{name}/main.log"
            r = run(*podman, *ours, "--log-opt", "path=" + path, "--log-opt", f"max-size={size}", "--rootfs", root, "/bin/sh", "-c", command)
            assert r.returncode == 0, r.stderr
            with open(f"{s.logs}/{name}/exit_code", "w") as f:
                f.write("0\n")
            s.stopped(name)
            if name == "fast":
                missing, _ = account(Ledger(b"line %d" % i for i in range(LINES)), s.dump(name), "podman")
            else:
                for stream, want in (("stdout", r.stdout), ("stderr", r.stderr)):
                    got = b"".join(o["line"] + (b"" if o["partial"] else b"\n") for o in s.lines(name) if o["stream"] == stream)
                    assert got == want, (stream, got[-100:], want[-100:])
        print(f"   podman: {LINES} lines, rotated in place at 200 kB, {missing} in gaps")
        done.append("podman")


def containerd_writes_a_file():
    if not shutil.which("containerd") or not shutil.which("ctr"):
        return print("   no containerd")
    with Direct(["plain:LOGS/{sandbox}/out.log"]) as s:
        root, home = rootfs(s.dir + "/rootfs"), s.dir + "/ctd"
        if not root:
            return print("   not root, no runc or no busybox")
        address = home + "/sock"
        with Daemon(home, "containerd", "--root", home + "/root", "--state", home + "/state", "--address", address):
            ctr = ["ctr", "--address", address]
            try:
                until(lambda: run(*ctr, "version").returncode == 0, 15, "containerd answers")
            except AssertionError:
                return print("   containerd can't run here")
            os.mkdir(s.logs + "/box")
            r = run(*ctr, "run", "--rm", "--rootfs", "--log-uri", f"file://{s.logs}/box/out.log", root, "box", "/bin/sh", "-c", LOOP)
            if r.returncode != 0:
                return print("   containerd can't run a container here:", r.stderr[:200])
            until(lambda: s.count("box") >= LINES, 30, f"{LINES} lines, now {s.count('box')}")
            missing, _ = account(Ledger(b"line %d" % i for i in range(LINES)), s.dump("box"), "containerd")
            assert missing == 0 and not s.gaps("box")
        print(f"   containerd: {LINES} lines")
        done.append("containerd")


def docker_rotates_packs_and_ends():
    if not shutil.which("dockerd") or not shutil.which("docker") or not shutil.which("containerd"):
        return print("   no dockerd")
    with Direct(start=False) as s:
        root, home = rootfs(s.dir + "/rootfs"), s.dir + "/docker"
        if not root:
            return print("   not root, no runc or no busybox")
        s.watch = [f"docker:{home}/data/containers/{{sandbox}}/*-json.log"]
        for name in ("broker", "gateway", "collector"):
            s.start(name)
        s.up()
        ctd = home + "/ctd"
        address = "unix://" + home + "/sock"
        docker = ["docker", "-H", address]
        with Daemon(ctd, "containerd", "--root", ctd + "/root", "--state", ctd + "/state", "--address", ctd + "/sock"), \
                Daemon(home + "/d", "dockerd", "--data-root", home + "/data", "--exec-root", home + "/exec", "-H", address, "--pidfile",
                       home + "/pid", "--containerd", ctd + "/sock", "--iptables=false", "--ip6tables=false", "--bridge=none",
                       "--storage-driver=vfs"):
            try:
                until(lambda: run(*docker, "info").returncode == 0, 20, "dockerd answers")
            except AssertionError:
                return print("   dockerd can't run here")
            with tarfile.open(s.dir + "/image.tar", "w") as tar:
                tar.add(root, arcname=".")
            r = run(*docker, "import", s.dir + "/image.tar", "box")
            assert r.returncode == 0, r.stderr
            start = [*docker, "run", "-d", "--network=none", "--ulimit", "nofile=1024:1024"]
            r = run(*start, "box", "/bin/sh", "-c", "true")
            if r.returncode != 0:
                return print("   dockerd can't run a container here:", r.stderr[:200])
            for packed in ("false", "true"):
                r = run(*start, "--name", "fast-" + packed, "--label", "team=a", "--env", "COLOR=red", "--log-opt", "labels=team", "--log-opt", "env=COLOR",
                        "--log-opt", "max-size=200k", "--log-opt", "max-file=50", "--log-opt", "compress=" + packed, "box", "/bin/sh",
                        "-c", LOOP + "; exit 3")
                assert r.returncode == 0, r.stderr
                box = r.stdout.decode().strip()
                s.stopped(box, 60)
                missing, _ = account(Ledger(b"line %d" % i for i in range(LINES)), s.dump(box), "docker, compress=" + packed)
                state = s.state(box)
                assert missing == 0 and not s.gaps(box), (missing, s.gaps(box))
                assert state["exit_code"] == 3 and state["labels"]["team"] == "a" and state["labels"]["COLOR"] == "red" and \
                    state["labels"]["name"] == "fast-" + packed, state
            r = run(*start, "--name", "both", "box", "/bin/sh", "-c", BOTH)
            box = r.stdout.decode().strip()
            s.stopped(box, 60)
            ours = ["docker", "-H", f"tcp://127.0.0.1:{s.port}"]
            for more in ([], ["-t"], ["-n", "7"], ["-t", "-n", "300"]):
                theirs, mine = run(*docker, "logs", *more, "both"), run(*ours, "logs", *more, "both")
                assert theirs.returncode == mine.returncode == 0, (theirs.stderr[:200], mine.stderr[:200])
                assert (theirs.stdout, theirs.stderr) == (mine.stdout, mine.stderr), (more, theirs.stdout[-200:], mine.stdout[-200:])
            names = [json.loads(line)["Names"] for line in run(*ours, "ps", "-a", "--format", "{{json .}}").stdout.splitlines()]
            assert {"both", "fast-true", "fast-false"} <= set(names), names
            run(*docker, "rm", "-f", box)
        print(f"   docker: {LINES} lines, rotated at 200 kB, plain and packed; its own logs are ours byte for byte")
        done.append("docker")


if __name__ == "__main__":
    main([podman_rotates_in_place, containerd_writes_a_file, docker_rotates_packs_and_ends])
    if not done:
        skip("no container runtime runs here")
