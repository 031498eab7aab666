# SPDX-License-Identifier: Apache-2.0
"""The libraries that dashboards are made of read from the gateway: Docker's and Kubernetes' for Python, dockerode for Node."""
import os
import shutil
import subprocess

from dialects_world import DOCKER_ID, World, debian, imports, text
from harness import main, skip, until

PYTHON_DOCKER = """
import os, sys, docker
client = docker.DockerClient(base_url=os.environ["URL"], version="auto")
assert client.ping()
c = client.containers.get(os.environ["ID"])
assert c.id == os.environ["ID"] and c.status == "running", (c.id, c.status)
assert os.environ["ID"] in [o.id for o in client.containers.list()]
assert [o.id for o in client.containers.list(all=True, filters={"label": "app=gen"})] == ["spaced"]
sys.stdout.buffer.write(c.logs())
sys.stdout.buffer.write(b"=====")
sys.stdout.buffer.write(c.logs(stdout=True, stderr=False, timestamps=True, tail=3))
sys.stdout.buffer.write(b"=====")
for chunk in client.containers.get("live").logs(stream=True, follow=True):
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()
sys.stdout.buffer.write(b"=====")
try:
    client.containers.get("nobody")
except docker.errors.NotFound as e:
    sys.stdout.write(e.explanation)
"""

PYTHON_KUBERNETES = """
import os, sys
from kubernetes import client, watch
api = client.CoreV1Api(client.ApiClient(client.Configuration(host=os.environ["URL"])))
assert client.VersionApi(api.api_client).get_code().platform
pods = api.list_namespaced_pod("ns1", label_selector="app=gen")
assert [p.metadata.name for p in pods.items] == ["spaced"], pods
assert api.read_namespaced_pod("cri", "default").status.phase == "Running"
raw = api.read_namespaced_pod_log("cri", "default", _preload_content=False, timestamps=True, tail_lines=5, container="main")
sys.stdout.buffer.write(raw.data)
sys.stdout.buffer.write(b"=====")
for chunk in api.read_namespaced_pod_log("live", "default", _preload_content=False, follow=True).stream():
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()
sys.stdout.buffer.write(b"=====")
try:
    api.read_namespaced_pod_log("nobody", "default")
except client.ApiException as e:
    sys.stdout.write(f"{e.status} {e.reason}")
"""

DOCKERODE = """
const Docker = require("dockerode");
const docker = new Docker({ host: "127.0.0.1", port: Number(process.env.PORT), protocol: "http" });
(async () => {
  const out = (b) => new Promise((done) => process.stdout.write(b, done));
  if ((await docker.ping()).toString() !== "OK") throw new Error("ping");
  const all = await docker.listContainers({ all: true, filters: { label: ["app=gen"] } });
  if (all.length !== 1 || all[0].Id !== "spaced") throw new Error(JSON.stringify(all));
  const c = docker.getContainer(process.env.ID);
  if ((await c.inspect()).State.Status !== "running") throw new Error("inspect");
  const whole = await c.logs({ stdout: true, stderr: true, follow: true, until: Math.floor(Date.now() / 1000) - 100 });
  await new Promise((done) => { docker.modem.demuxStream(whole, process.stdout, process.stderr); whole.on("end", done); });
  await out("=====");
  const live = await docker.getContainer("live").logs({ stdout: true, stderr: true, follow: true });
  await new Promise((done) => { docker.modem.demuxStream(live, process.stdout, process.stdout); live.on("end", done); });
  await out("=====");
  await docker.getContainer("nobody").inspect().catch((e) => out(`${e.statusCode} ${e.json.message}`));
})().catch((e) => { console.error(e); process.exit(1); });
"""


def finish(world, source, client, parts):
    """The client follows `live` by now; it is given more, and its output is cut at the marks."""
    until(lambda: source.written[0][2] in client.printed()[0], 20, f"the first line, not {client.printed()}")
    source.write(200)
    source.exit(0)
    status, out, err = client.result()
    assert status == 0, err
    have = out.split(b"=====")
    assert len(have) == parts, (len(have), out[-300:])
    return have, err


def environment(world):
    return {"URL": f"http://127.0.0.1:{world.port}", "ID": DOCKER_ID, "PORT": str(world.port)}


def dockers_python_library_reads_lists_and_follows():
    debian("python3-docker", imports("docker"))
    with World() as world:
        source = world.source("live", lines=5)
        client = world.spawn("/usr/bin/python3", "-c", PYTHON_DOCKER, **environment(world))
        (whole, some, live, error), _ = finish(world, source, client, 4)
        stdout = [line for line in world.dockerd if line[1] == "stdout"]
        assert whole == text(world.dockerd) and some == text(stdout[-3:], timestamps=True)
        assert live == text(source.written) and error == b"No such container: nobody", error


def kubernetes_python_library_reads_lists_and_follows():
    debian("python3-kubernetes", imports("kubernetes"))
    with World() as world:
        source = world.source("live", lines=5)
        client = world.spawn("/usr/bin/python3", "-c", PYTHON_KUBERNETES, **environment(world))
        (some, live, error), _ = finish(world, source, client, 3)
        assert some == text(world.conmon[-5:], timestamps=True), some[:300]
        assert live == text(source.written) and error == b"404 Not Found", error


def dockerode_reads_lists_and_follows():
    if not shutil.which("node") or not shutil.which("npm"):
        skip("no node")
    with World() as world:
        modules = os.environ.get("SANDLOG_DOCKERODE") or f"{world.dir}/node_modules"
        if not os.path.isdir(modules):
            p = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", world.dir, "dockerode"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            if p.returncode != 0:
                skip("dockerode can't be installed")
        source = world.source("live", lines=5)
        client = world.spawn("node", "-e", DOCKERODE, NODE_PATH=modules, **environment(world))
        (whole, live, error), err = finish(world, source, client, 3)
        assert whole == text(world.dockerd, "stdout") and err == text(world.dockerd, "stderr")
        assert live == text(source.written) and error == b"404 No such container: nobody", error


if __name__ == "__main__":
    main([dockers_python_library_reads_lists_and_follows, kubernetes_python_library_reads_lists_and_follows,
          dockerode_reads_lists_and_follows])
