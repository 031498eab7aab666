# SPDX-License-Identifier: Apache-2.0
"""What Docker's and Kubernetes' clients ask, asked by hand: framing, versions, content types, errors, and that a connection is kept."""
import http.client
import json
import os
import struct
import urllib.parse

from dialects_world import DOCKER_ID, World, text
from harness import main


def frames(data):
    """Docker's multiplexed stream: [(stream, bytes)]; nothing may be left over."""
    out = []
    while data:
        stream, zeros, size = struct.unpack(">B3sI", data[:8])
        assert zeros == b"\0\0\0" and len(data) >= 8 + size, data[:16]
        out.append(({1: "stdout", 2: "stderr"}[stream], data[8:8 + size]))
        data = data[8 + size:]
    return out


def docker(world, path, **query):
    status, headers, body = world.get(path + ("?" + urllib.parse.urlencode(query) if query else ""))
    return status, headers, body


def message(world, path, **query):
    status, headers, body = docker(world, path, **query)
    assert headers["Content-Type"] == "application/json", headers.items()
    return status, json.loads(body)["message"]


def kube_status(world, path):
    status, headers, body = world.get(path)
    o = json.loads(body)
    assert headers["Content-Type"] == "application/json" and o["kind"] == "Status" and o["apiVersion"] == "v1", o
    assert o["status"] == "Failure" and o["code"] == status, o
    return status, o["reason"], o["message"]


def docker_frames_hold_each_line_with_its_stream(world):
    for prefix in ("", "/v1.24", "/v1.41", "/v1.42", "/v1.50"):
        status, headers, body = docker(world, f"{prefix}/containers/{DOCKER_ID}/logs", stdout=1, stderr=1)
        raw = prefix in ("/v1.24", "/v1.41")
        assert status == 200 and headers["Content-Type"] == \
            f"application/vnd.docker.{'raw' if raw else 'multiplexed'}-stream", (prefix, headers.items())
        assert frames(body) == [(stream, line + b"\n") for _, stream, line in world.dockerd], prefix
    lines = [line for line in world.dockerd if line[1] == "stderr"]
    assert 0 < len(lines) < len(world.dockerd)
    _, _, body = docker(world, f"/containers/{DOCKER_ID}/logs", stderr="true", timestamps=1, tail=2)
    assert b"".join(b for _, b in frames(body)) == text(lines[-2:], timestamps=True)
    _, _, body = docker(world, f"/containers/{DOCKER_ID}/logs", stdout="True", stderr="0", tail="many")
    assert b"".join(b for _, b in frames(body)) == text(world.dockerd, "stdout")


def docker_says_what_is_wrong(world):
    assert docker(world, "/_ping")[2] == b"OK" and docker(world, "/v1.43/_ping")[2] == b"OK"
    status, headers, body = world.request("HEAD", "/_ping")
    assert (status, body, headers["Api-Version"], headers["Ostype"]) == (200, b"", "1.50", "linux"), headers.items()
    assert message(world, "/containers/cri/logs") == (400, "Bad parameters: you must choose at least one stream")
    assert message(world, "/containers/cri/logs", stdout=1, since="x")[0] == 400
    assert message(world, "/containers/nobody/logs", stdout=1) == (404, "No such container: nobody")
    assert message(world, "/containers/nobody/json") == (404, "No such container: nobody")
    assert message(world, "/v1.50/nothing") == (404, "page not found")
    assert message(world, "/containers/json", filters="[]")[0] == 400
    assert message(world, "/containers/json", filters='{"status":["no"]}') == (400, "invalid filter 'status=no'")
    status, why = message(world, "/v1.99/containers/json")
    assert status == 400 and "client version 1.99 is too new. Maximum supported API version is 1.50" in why, why
    assert message(world, "/v1.12/_ping")[0] == 400
    status, headers, body = world.request("POST", "/v1.50/containers/cri/stop", b"", {"Content-Length": "0"})
    assert status == 405 and "message" in json.loads(body) and "GET" in headers["Allow"], (status, body)
    listed = json.loads(docker(world, "/containers/json", all=1, filters='{"id":{"cri":true},"name":["r"]}')[2])
    assert [(o["Id"], o["Names"], o["State"]) for o in listed] == [("cri", ["/cri"], "running")], listed
    # filters that are off do not count
    assert len(json.loads(docker(world, "/containers/json", filters='{"id":{"nope":false}}')[2])) >= 4


def kubernetes_says_what_is_wrong(world):
    pods = "/api/v1/namespaces/default/pods"
    for path, want in (
            (f"{pods}/nobody/log", (404, "NotFound")), (f"{pods}/bad%20id", (404, "NotFound")), ("/api/v2", (404, "NotFound")),
            ("/openapi/v2", (404, "NotFound")), ("/apis/apps/v1", (404, "NotFound")), (f"{pods}/cri/exec", (404, "NotFound")),
            (f"{pods}/cri/log?tailLines=-1", (400, "BadRequest")), (f"{pods}/cri/log?limitBytes=0", (400, "BadRequest")),
            (f"{pods}/cri/log?sinceSeconds=0", (400, "BadRequest")), (f"{pods}/cri/log?sinceTime=10m", (400, "BadRequest")),
            (f"{pods}/cri/log?sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", (400, "BadRequest")),
            (f"{pods}/pair/log", (400, "BadRequest")), (f"{pods}/cri/log?container=x", (400, "BadRequest")),
            (f"{pods}?labelSelector=a%3Db%2C", (400, "BadRequest")), (f"{pods}?watch=1", (405, "MethodNotAllowed"))):
        assert kube_status(world, path)[:2] == want, (path, kube_status(world, path))
    assert "choose one of: [main tick]" in kube_status(world, f"{pods}/pair/log")[2]
    assert kube_status(world, "/api/v1/namespaces/none")[2] == 'namespaces "none" not found'
    status, headers, body = world.get(f"{pods}/cri/log?container=main&stream=Stderr")
    assert status == 200 and headers["Content-Type"] == "text/plain" and body == text(world.conmon, "stderr")
    assert world.json("/api/v1")["kind"] == "APIResourceList" and world.json("/apis")["groups"] == []
    assert world.json("/api")["versions"] == ["v1"] and world.json("/api/v1/namespaces/ns1")["metadata"]["name"] == "ns1"
    first = world.json("/api/v1/pods?limit=2")
    rest = world.json("/api/v1/pods?continue=" + first["metadata"]["continue"])
    names = [o["metadata"]["name"] for o in first["items"] + rest["items"]]
    assert len(first["items"]) == 2 and "continue" not in rest["metadata"] and len(set(names)) == len(names) >= 4, names


def one_version_serves_both(world):
    status, _, body = world.get("/version")
    o = json.loads(body)
    assert o["ApiVersion"] == "1.50" and o["gitVersion"].startswith("v1.") and "platform" not in o and "Platform" not in o, o
    status, _, body = world.get("/version", Accept="application/json, */*")
    assert json.loads(body)["platform"] == "linux/amd64"
    assert world.json("/v1.50/version")["Platform"]["Name"] == "sandlog"


def a_connection_is_kept_between_requests(world):
    c = http.client.HTTPConnection("127.0.0.1", world.port, timeout=30)
    sock = None
    for path in ("/_ping", "/containers/json", "/containers/cri/logs?stdout=1", "/api/v1/pods", "/containers/nobody/json",
                 "/api/v1/namespaces/default/pods/cri/log?limitBytes=5", "/api/v1/namespaces/default/pods/nobody/log", "/version"):
        c.request("GET", path)
        r = c.getresponse()
        r.read()
        sock = sock or c.sock
        assert c.sock is sock and sock, path
    c.close()


def the_core_guards_these_paths_too(world):
    for path, key in (("/containers/json", "message"), ("/api/v1/pods", "message")):
        status, _, body = world.request("GET", path, headers={"Host": "evil.example"})
        assert status == 403 and "loopback" in json.loads(body)[key] or "own names" in json.loads(body)[key], body


def a_gap_shows_where_docker_has_a_place_for_details(world):
    source = world.source("gappy", lines=3)
    world.stop("collector")
    source.write(1)  # nobody reads it
    os.truncate(source.path, 0)
    lost = source.written.pop()
    source.write(2)
    assert lost not in source.written
    world.start("collector")
    world.has("gappy", 5)
    plain = [(where, line + b"\n") for _, where, line in source.written]
    told = plain[:3] + [("stderr", b"--- sandlog: gap of an unknown number of lines: source-truncated\n")] + plain[3:]
    assert frames(docker(world, "/containers/gappy/logs", stdout=1, stderr=1)[2]) == plain
    have = frames(docker(world, "/containers/gappy/logs", stdout=1, stderr=1, details=1)[2])
    assert have == told, have


def all_of_them():
    with World() as world:
        for test in (docker_frames_hold_each_line_with_its_stream, docker_says_what_is_wrong, kubernetes_says_what_is_wrong,
                     one_version_serves_both, a_connection_is_kept_between_requests, the_core_guards_these_paths_too,
                     a_gap_shows_where_docker_has_a_place_for_details):
            test(world)
            print("ok", test.__name__, flush=True)


if __name__ == "__main__":
    main([all_of_them])
