# SPDX-License-Identifier: Apache-2.0
"""What the tests of other people's clients share: a system that holds the samples, what their own servers print for them, and the
clients, installed where that is possible."""
import os
import shutil
import subprocess
import tempfile

from harness import PATIENCE, SAMPLES, Source, System, skip
from main_samples import expect_cri, expect_docker, read

DOCKER_ID = "4f0c1d" + "0123456789abcdef" * 3 + "0123456789"  # as dockerd makes them: 64 hex digits


class World(System):
    """Sandboxes: cri (conmon, namespace default), pair (containerd, containers main and tick), spaced (conmon, namespace ns1, label
    app=gen), DOCKER_ID (dockerd); live ones with self.source()."""

    def __init__(self, **extra):
        super().__init__(start=False, **extra)
        self.watch = [f"cri:{self.dir}/pods/{{namespace}}_{{sandbox}}_{{app}}/{{container}}/*.log",
                      f"cri:{self.dir}/cri/{{sandbox}}/{{container}}/*.log",
                      f"docker:{self.dir}/docker/{{sandbox}}/*-json.log",
                      f"cri:{self.logs}/{{sandbox}}/{{container}}.log"]
        self.lay("conmon-2.1.6-k8s-file-gen.log", "cri/cri/main/0.log")
        self.lay("conmon-2.1.6-k8s-file-gen.log", "pods/ns1_spaced_gen/main/0.log")
        self.lay("containerd-1.6-cri/main/0.log", "cri/pair/main/0.log")
        self.lay("containerd-1.6-cri/tick/0.log", "cri/pair/tick/0.log")
        self.lay("dockerd-20.10-json-file-gen.log", f"docker/{DOCKER_ID}/x-json.log")
        self.conmon = expect_cri(read("conmon-2.1.6-k8s-file-gen.log"))
        self.main = expect_cri(read("containerd-1.6-cri", "main", "0.log"))
        self.tick = expect_cri(read("containerd-1.6-cri", "tick", "0.log"))
        self.dockerd = expect_docker(read("dockerd-20.10-json-file-gen.log"))
        try:
            for name in ("broker", "gateway", "collector"):
                self.start(name)
            self.ready()
            self.has("cri", len(self.conmon))
            self.has("spaced", len(self.conmon))
            self.has("pair", len(self.main) + len(self.tick))
            self.has(DOCKER_ID, len(self.dockerd))
        except BaseException:
            self.close()
            raise

    def lay(self, source, target):
        os.makedirs(os.path.dirname(f"{self.dir}/{target}"), exist_ok=True)
        shutil.copy(os.path.join(SAMPLES, source), f"{self.dir}/{target}")

    def source(self, sandbox, lines=0):
        s = Source(self, sandbox)
        if lines:
            s.write(lines)
            self.has(sandbox, lines)
        return s

    def run(self, *command, **environment):
        """(exit status, stdout, stderr) of a client."""
        return self.spawn(*command, **environment).result()

    def spawn(self, *command, **environment):
        return Client(self, command, environment)


class Client:
    """A client that runs, with a home of its own; what it prints goes into files, so that it can be looked at meanwhile."""

    def __init__(self, world, command, environment):
        home = f"{world.dir}/home"
        os.makedirs(home, exist_ok=True)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "KUBE"))}
        env.update(HOME=home, **environment)
        self.files = [tempfile.TemporaryFile(dir=world.dir) for _ in range(2)]
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=self.files[0], stderr=self.files[1])

    def printed(self):
        """(stdout, stderr) so far."""
        return tuple(os.pread(f.fileno(), os.fstat(f.fileno()).st_size, 0) for f in self.files)

    def result(self):
        try:
            status = self.process.wait(timeout=60 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.process.args} does not end") from None
        return (status,) + self.printed()


def text(lines, stream=None, timestamps=False):
    """Lines as (time, stream, text), printed as docker and kubectl do."""
    return b"".join((time.encode() + b" " if timestamps else b"") + line + b"\n"
                    for time, where, line in lines if stream in (None, where))


def debian(package, works):
    """Makes sure of a Debian package: works() says whether it is there."""
    if works():
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        skip(f"{package} is not installed")
    subprocess.run(["apt-get", "install", "-y", "-q", package], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if not works():
        skip(f"{package} can't be installed")


def imports(module):
    return lambda: subprocess.run(["/usr/bin/python3", "-c", f"import {module}"], stderr=subprocess.DEVNULL, check=False).returncode == 0
