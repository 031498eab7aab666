# SPDX-License-Identifier: Apache-2.0
"""kubectl reads from the gateway and prints, byte for byte, what it prints for the same log from an API server and a kubelet."""
import json
import os
import shutil

from dialects_world import DOCKER_ID, World, debian, text
from harness import main, until

# kubectl that is on the path, and any others that the environment names (versions differ in what they ask)
debian("kubernetes-client", lambda: shutil.which("kubectl"))
CLIENTS = [shutil.which("kubectl")] + os.environ.get("SANDLOG_KUBECTL", "").split()


class Kubectl:
    def __init__(self, world, program):
        self.world, self.program = world, program

    def command(self, *arguments):
        return (self.program, f"--server=http://127.0.0.1:{self.world.port}") + arguments

    def __call__(self, *arguments):
        return self.world.run(*self.command(*arguments))

    def prints(self, want, *arguments):
        status, out, err = self(*arguments)
        assert status == 0, (arguments, status, err)
        assert out == want, f"{arguments}: {len(out)} bytes {out[:200]!r}, not {len(want)} {want[:200]!r}"

    def refuses(self, why, *arguments):
        status, out, err = self(*arguments)
        assert status == 1 and out == b"" and why in err, (arguments, status, out, err)


def logs_are_what_the_kubelet_gives_for_the_same_file(world, kubectl):
    kubectl.prints(text(world.conmon), "logs", "cri")
    kubectl.prints(text(world.conmon, timestamps=True), "logs", "--timestamps", "cri")
    kubectl.prints(text(world.conmon), "logs", "-n", "ns1", "spaced")
    kubectl.prints(text(world.dockerd), "logs", DOCKER_ID)
    for n in (0, 1, 7, 10000):
        kubectl.prints(text(world.conmon[-n:] if n else []), "logs", "cri", f"--tail={n}")


def a_limit_of_bytes_cuts_within_a_line_and_counts_timestamps(world, kubectl):
    whole = text(world.conmon)
    for n in (1, 13, 14, 15, 40, len(whole) - 1, len(whole), len(whole) + 1):
        kubectl.prints(whole[:n], "logs", "cri", f"--limit-bytes={n}")
    kubectl.prints(text(world.conmon, timestamps=True)[:50], "logs", "cri", "--limit-bytes=50", "--timestamps")
    kubectl.prints(text(world.conmon[-3:])[:9000], "logs", "cri", "--tail=3", "--limit-bytes=9000")
    kubectl.prints(whole[:20], "logs", "-f", "cri", "--limit-bytes=20")


def since_is_a_time_or_an_age(world, kubectl):
    second = world.conmon[-1][0][:19] + "Z"  # kubectl keeps whole seconds only
    kubectl.prints(text([line for line in world.conmon if line[0] >= second[:-1]]), "logs", "cri", f"--since-time={second}")
    kubectl.prints(b"", "logs", "cri", "--since-time=2100-01-01T00:00:00Z")
    kubectl.prints(b"", "logs", "cri", "--since=1s")
    kubectl.prints(text(world.conmon), "logs", "cri", "--since=200000h")


def containers_are_told_apart(world, kubectl):
    kubectl.prints(text(world.main), "logs", "pair", "-c", "main")
    kubectl.prints(text(world.tick), "logs", "pair", "-c", "tick")
    kubectl.prints(text(world.tick[-2:]), "logs", "pair", "-c", "tick", "--tail=2")
    kubectl.prints(text(world.main[-2:]) + text(world.tick[-2:]), "logs", "pair", "--all-containers", "--tail=2")
    kubectl.refuses(b"container nope is not valid for pod pair", "logs", "pair", "-c", "nope")
    kubectl.refuses(b"previous terminated container not found in pod \"cri\"", "logs", "-p", "cri")


def pods_are_chosen_by_label_and_prefixed(world, kubectl):
    prefixed = b"".join(b"[pod/spaced/main] " + line + b"\n" for _, _, line in world.conmon[-3:])
    kubectl.prints(prefixed, "logs", "-n", "ns1", "-l", "app=gen", "--prefix", "--tail=3")
    kubectl.prints(prefixed, "logs", "-n", "ns1", "-l", "app in (x, gen),namespace!=default", "--prefix", "--tail=3")
    kubectl.prints(b"", "logs", "-n", "ns1", "-l", "app=other")


def following_ends_with_the_pod(world, kubectl):
    name = f"follow{CLIENTS.index(kubectl.program)}"
    source = world.source(name, lines=5)
    client = world.spawn(*kubectl.command("logs", "-f", "--tail=3", "--timestamps", name))
    until(lambda: client.printed()[0].count(b"\n") == 3, 20, "three lines before there are more")
    source.write(500)
    until(lambda: client.printed()[0].count(b"\n") == 503, 20, "lines as they come")
    source.write(1)
    source.exit(1)
    status, out, err = client.result()
    assert status == 0 and out == text(source.written[2:], timestamps=True), (status, len(out), err)
    until(lambda: world.info(name)["state"] == "stopped", 20, "stopped")
    kubectl.prints(text(source.written), "logs", "-f", name)
    kubectl.prints(b"Failed 1", "get", "pod", name, "-o",
                   "jsonpath={.status.phase} {.status.containerStatuses[0].state.terminated.exitCode}")


def pods_are_listed(world, kubectl):
    def table(*arguments):
        status, out, err = kubectl("get", "pods", *arguments)
        assert status == 0, err
        return [row.split() for row in out.decode().splitlines()]
    rows = {row[0]: row for row in table()}
    assert list(rows["NAME"]) == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"], rows["NAME"]
    assert rows["pair"][1:4] == ["2/2", "Running", "0"] and "spaced" not in rows, rows
    assert [row[:2] for row in table("-A") if row[0] == "ns1"] == [["ns1", "spaced"]]
    assert len(table("-A", "--chunk-size=1")) == len(table("-A")) >= 5
    assert [row[0] for row in table("-A", "-l", "app")] == ["NAMESPACE", "ns1"]
    assert [row[0] for row in table("--field-selector", "metadata.name=cri")] == ["NAME", "cri"]
    assert [row[0] for row in table("cri", DOCKER_ID)] == ["NAME", "cri", DOCKER_ID]
    status, out, _ = kubectl("get", "pods", "-A", "-o", "json")
    pods = {o["metadata"]["name"]: o for o in json.loads(out)["items"]}
    assert pods["spaced"]["metadata"]["labels"]["app"] == "gen" and pods["spaced"]["metadata"]["namespace"] == "ns1"
    assert [c["name"] for c in pods["pair"]["spec"]["containers"]] == ["main", "tick"]
    kubectl.prints(b"namespace/default\nnamespace/ns1\n", "get", "namespaces", "-o", "name")
    kubectl.prints(b"pod/cri\n", "get", "pod", "cri", "-o", "name")


def what_is_not_there_is_said_as_kubernetes_says_it(world, kubectl):
    kubectl.refuses(b'(NotFound): pods "nobody" not found', "logs", "nobody")
    kubectl.refuses(b'(NotFound): pods "nobody" not found', "get", "pod", "nobody")
    kubectl.refuses(b'(NotFound): pods "spaced" not found', "logs", "spaced")  # of another namespace
    kubectl.refuses(b'(NotFound): pods "cri" not found', "logs", "-n", "ns1", "cri")
    kubectl.refuses(b"doesn't have a resource type", "get", "services")
    kubectl.refuses(b"(MethodNotAllowed)", "delete", "pod", "cri")
    kubectl.refuses(b"field label not supported", "get", "pods", "--field-selector", "spec.x=y")


def what_retention_took_is_warned_of():
    with World(broker=["--sandbox-bytes", "64KiB"]) as world:
        source = world.source("old")
        while world.info("old") is None or world.json("/v1/sandboxes/old")["first_cursor"].endswith("-1"):
            source.write(2000)
            world.has("old", len(source.written))
            assert world.request("POST", "/compact", b"", port=world.broker_port)[0] == 200
            assert len(source.written) < 100000
        for client in CLIENTS:
            kubectl = Kubectl(world, client)
            gone = int(world.info("old")["first_cursor"].split("-")[-1]) - 1
            status, out, err = kubectl("logs", "old")
            assert status == 0 and out == text(source.written[gone:]), (status, err)
            assert err == f"Warning: this log has lost its first {gone} lines to retention\n".encode(), err
            assert kubectl("logs", "old", "--tail=2") == (0, text(source.written[-2:]), b"")


def all_of_them():
    with World() as world:
        for client in CLIENTS:
            kubectl = Kubectl(world, client)
            status, out, err = kubectl("version")
            assert status == 0 and b"sandlog" in out, (out, err)
            for test in (logs_are_what_the_kubelet_gives_for_the_same_file, a_limit_of_bytes_cuts_within_a_line_and_counts_timestamps,
                         since_is_a_time_or_an_age, containers_are_told_apart, pods_are_chosen_by_label_and_prefixed,
                         following_ends_with_the_pod, pods_are_listed, what_is_not_there_is_said_as_kubernetes_says_it):
                test(world, kubectl)
                print("ok", test.__name__, flush=True)


if __name__ == "__main__":
    main([all_of_them, what_retention_took_is_warned_of])
