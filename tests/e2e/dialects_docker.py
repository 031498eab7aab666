# SPDX-License-Identifier: Apache-2.0
"""The docker command line reads from the gateway and prints, byte for byte, what it prints for the same log from dockerd."""
import json
import re
import shutil

from dialects_world import DOCKER_ID, World, text
from harness import main, skip, until

if not shutil.which("docker"):
    skip("no docker client; its requests are in dialects_docker_requests")


def docker(world, *arguments):
    return world.run("docker", "-H", f"tcp://127.0.0.1:{world.port}", *arguments)


def printed(world, lines, *arguments, timestamps=False):
    status, out, err = docker(world, "logs", *arguments)
    assert status == 0, (arguments, status, err)
    for stream, have in (("stdout", out), ("stderr", err)):
        want = text(lines, stream, timestamps)
        assert have == want, f"docker logs {arguments}: {stream}: {len(have)} bytes {have[:200]!r}, not {len(want)} {want[:200]!r}"


def logs_are_what_dockerd_prints_for_the_same_file(world):
    printed(world, world.dockerd, DOCKER_ID)
    printed(world, world.dockerd, "-t", DOCKER_ID, timestamps=True)
    printed(world, world.conmon, "cri")
    for n in (0, 1, 7, 10000):
        printed(world, world.dockerd[-n:] if n else [], "-n", str(n), DOCKER_ID)
    printed(world, world.dockerd, "-n", "all", DOCKER_ID)


def since_and_until_bound_the_log_to_the_nanosecond(world):
    times = [line[0] for line in world.dockerd]
    assert times == sorted(times)
    first, last = times[3], times[9]
    printed(world, [line for line in world.dockerd if line[0] >= first], "--since", first, DOCKER_ID)
    printed(world, [line for line in world.dockerd if line[0] <= last], "--until", last, DOCKER_ID)
    printed(world, [line for line in world.dockerd if first <= line[0] <= last], "-t", "--since", first, "--until", last, DOCKER_ID,
            timestamps=True)
    printed(world, [], "--since", "1s", DOCKER_ID)
    printed(world, world.dockerd, "--since", "100000h", "--until", "1s", DOCKER_ID)


def a_container_is_found_by_id_by_name_and_by_a_prefix_of_its_own(world):
    printed(world, world.dockerd[-1:], "-n", "1", DOCKER_ID[:12])
    printed(world, world.conmon[-1:], "-n", "1", "cr")
    world.put("cri", labels={"name": "web-1"})
    printed(world, world.conmon[-1:], "-n", "1", "web-1")
    world.put("clash-1", state="running")
    world.put("clash-2", state="running")
    status, _, err = docker(world, "logs", "clash")
    assert status == 1 and b"multiple IDs found with provided prefix: clash" in err, (status, err)
    status, out, err = docker(world, "logs", "nobody")
    # the client's own words until 20.10, the daemon's since
    assert (status, out) == (1, b"") and re.fullmatch(rb"Error( response from daemon)?: No such container: nobody\n", err), (status, out, err)
    status, _, err = docker(world, "logs", "bad%id")
    assert status == 1 and b"No such container: bad%id" in err, (status, err)
    for name in ("clash-1", "clash-2"):
        world.request("DELETE", "/v1/sandboxes/" + name)


def following_ends_with_the_container(world):
    source = world.source("follow", lines=5)
    client = world.spawn("docker", "-H", f"tcp://127.0.0.1:{world.port}", "logs", "-f", "-n", "3", "-t", "follow")
    until(lambda: sum(o.count(b"\n") for o in client.printed()) == 3, 20, "three lines before there are more")
    source.write(500)
    until(lambda: sum(o.count(b"\n") for o in client.printed()) == 503, 20, "lines as they come")
    source.write(1)
    source.exit(7)
    status, out, err = client.result()
    want = source.written[2:]
    assert status == 0 and out == text(want, "stdout", True) and err == text(want, "stderr", True), (status, len(out), len(err))
    # and of what has stopped, what there is
    until(lambda: world.info("follow")["state"] == "stopped", 20, "stopped")
    printed(world, source.written, "-f", "follow")


def containers_are_listed_and_inspected(world):
    world.put("gone", state="stopped", exit_code=3, labels={"app": "shop", "tier": "web"})
    until(lambda: world.info("gone")["state"] == "stopped", 20, "stopped")
    ps = lambda *a: docker(world, "ps", "--no-trunc", "--format", "{{.ID}}", *a)[1].decode().split()
    assert set(ps()) >= {"cri", "spaced", "pair", DOCKER_ID} and "gone" not in ps(), ps()
    assert "gone" in ps("-a")
    assert ps("--filter", "status=exited", "--filter", "label=app=shop") == ["gone"]
    assert ps("-a", "--filter", "label=tier", "--filter", "label=app=shop") == ["gone"]
    assert ps("-a", "--filter", "label=app=other") == []
    assert ps("--filter", "name=^spa.*d$") == ["spaced"] and ps("--filter", "name=^/spaced$") == ["spaced"]
    assert ps("--filter", "id=" + DOCKER_ID[:7]) == [DOCKER_ID]
    assert ps("-l") == ["gone"] and len(ps("-n", "2")) == 2
    status, out, _ = docker(world, "ps", "-a", "--filter", "id=^gone$")
    row = out.decode().split("\n")[1]
    assert "Exited (3)" in row and row.split()[0] == "gone" and row.split()[-1] == "gone", out
    status, _, err = docker(world, "ps", "--filter", "nonsense=1")
    assert status == 1 and b"invalid filter 'nonsense=1'" in err, err

    status, out, _ = docker(world, "inspect", "gone")
    [o] = json.loads(out)
    assert status == 0 and o["Id"] == "gone" and o["Name"] == "/gone" and o["Config"]["Tty"] is False, o
    assert o["State"]["Status"] == "exited" and o["State"]["ExitCode"] == 3 and not o["State"]["Running"], o
    assert o["Config"]["Labels"] == {"app": "shop", "tier": "web"}, o
    status, out, _ = docker(world, "inspect", "--format", "{{.State.Running}} {{.State.FinishedAt}} {{.Created}}", DOCKER_ID)
    assert out.decode().split()[:2] == ["true", "0001-01-01T00:00:00Z"] and out.decode().split()[2] == world.dockerd[0][0], out
    status, _, err = docker(world, "inspect", "nobody")
    assert status == 1 and b"o such object: nobody" in err, err


def the_rest_of_docker_is_told_apart(world):
    status, out, err = docker(world, "version", "--format", "{{.Server.APIVersion}}")
    assert status == 0 and out == b"1.50\n", (out, err)
    status, out, err = docker(world, "info", "--format", "{{.ContainersRunning}} {{.OSType}}")
    assert status == 0 and out.split()[1] == b"linux" and int(out.split()[0]) >= 4, (out, err)
    status, _, err = docker(world, "rm", "-f", "cri")
    assert status == 1 and b"can be read from, and nothing else" in err, err
    assert world.info("cri")["lines"] == len(world.conmon)
    status, _, err = docker(world, "images")
    assert status == 1 and b"page not found" in err, err


def on_one_world(*tests):
    def all_of_them():
        with World() as world:
            for test in tests:
                test(world)
                print("ok", test.__name__, flush=True)
    return all_of_them


if __name__ == "__main__":
    main([on_one_world(logs_are_what_dockerd_prints_for_the_same_file, since_and_until_bound_the_log_to_the_nanosecond,
                       a_container_is_found_by_id_by_name_and_by_a_prefix_of_its_own, following_ends_with_the_container,
                       containers_are_listed_and_inspected, the_rest_of_docker_is_told_apart)])
