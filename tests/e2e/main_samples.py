# SPDX-License-Identifier: Apache-2.0
"""Log files that real runtimes wrote come through byte for byte, line for line, time for time: conmon, containerd, dockerd,
plain. The expectation is computed here by decoders of their own."""
import gzip
import json
import os
import re
import shutil

from harness import SAMPLES, System, line_bytes, main, until


def normal_time(text):
    """RFC 3339 with any fraction and Z or +00:00, as nine digits and Z."""
    m = re.fullmatch(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)", text)
    return f"{m[1].decode()}.{(m[2] or b'').decode():0<9}Z"


def expect_cri(data):
    lines, open_line = [], {}
    for record in data.split(b"\n")[:-1]:
        time, stream, tags, text = record.split(b" ", 3)
        first, have = open_line.pop(stream, (time, b""))
        if tags.split(b":")[0] == b"P":
            open_line[stream] = (first, have + text)
        else:
            lines.append((normal_time(first), stream.decode(), have + text))
    return lines


def expect_docker(data):
    lines, open_line = [], {}
    for record in data.split(b"\n")[:-1]:
        o = json.loads(record)
        text = o["log"].encode("utf-8", "surrogatepass").decode("utf-8", "replace").encode()
        first, have = open_line.pop(o["stream"], (o["time"], b""))
        if not text.endswith(b"\n"):
            open_line[o["stream"]] = (first, have + text)
        else:
            lines.append((normal_time(first.encode()), o["stream"], have + text[:-1]))
    return lines


def compare(system, sandbox, want, times=True):
    system.has(sandbox, len(want))
    got = system.lines(sandbox)
    assert len(got) == len(want), f"{sandbox}: {len(got)} lines, the file holds {len(want)}"
    for i, (o, (time, stream, text)) in enumerate(zip(got, want)):
        assert line_bytes(o) == text, f"{sandbox} line {i + 1}: {line_bytes(o)[:80]!r}, not {text[:80]!r}"
        assert o["stream"] == stream and o["seq"] == i + 1 and not o.get("partial"), (sandbox, i, o)
        assert not times or o["time"] == time, f"{sandbox} line {i + 1}: {o['time']}, not {time}"
    whole = b"".join(text + b"\n" for _, _, text in want)
    assert system.text(sandbox) == whole, f"{sandbox}: text/plain differs from what the process wrote"
    for stream in ("stdout", "stderr"):
        part = b"".join(text + b"\n" for _, s, text in want if s == stream)
        assert system.text(sandbox, stream=stream) == part, f"{sandbox}: stream={stream} differs"
    status, headers, _ = system.get(system.url(sandbox, tail="1"))
    assert status == 200 and headers["Sandlog-State"] == "running", headers.items()


def read(*path):
    with open(os.path.join(SAMPLES, *path), "rb") as f:
        return f.read()


def files_of_real_runtimes_come_through_byte_for_byte():
    with System(start=False) as s:
        s.watch = [f"cri:{s.dir}/pods/{{namespace}}_{{sandbox}}_{{uid}}/{{container}}/*.log",
                   f"docker:{s.dir}/docker/{{sandbox}}/*-json.log", f"plain:{s.dir}/vms/{{sandbox}}/console.log"]
        # half of the files are there when the collector starts, half come later
        def lay(source, target):
            os.makedirs(os.path.dirname(f"{s.dir}/{target}"), exist_ok=True)
            shutil.copy(os.path.join(SAMPLES, source), f"{s.dir}/{target}")
        lay("conmon-2.1.6-k8s-file-gen.log", "pods/ns1_conmon_u1/main/0.log")
        lay("dockerd-20.10-json-file-gen.log", "docker/dockerd/x-json.log")
        for name in ("broker", "gateway", "collector"):
            s.start(name)
        s.ready()
        lay("containerd-1.6-cri/main/0.log", "pods/ns1_containerd_u2/main/0.log")
        with open(f"{s.dir}/pods/ns1_containerd_u2/main/0.log", "rb") as f:
            assert f.read() == read("containerd-1.6-cri/main/0.log")
        lay("ctr-log-uri-plain.log", "vms/plain/console.log")

        compare(s, "conmon", expect_cri(read("conmon-2.1.6-k8s-file-gen.log")))
        compare(s, "containerd", expect_cri(read("containerd-1.6-cri", "main", "0.log")))
        compare(s, "dockerd", expect_docker(read("dockerd-20.10-json-file-gen.log")))
        plain = read("ctr-log-uri-plain.log").split(b"\n")[:-1]
        compare(s, "plain", [(None, "stdout", t) for t in plain], times=False)
        info = s.json("/v1/sandboxes/conmon")
        assert info["labels"]["namespace"] == "ns1" and info["labels"]["uid"] == "u1", info
        assert info["containers"] == ["main"], info


if __name__ == "__main__":
    main([files_of_real_runtimes_come_through_byte_for_byte])
