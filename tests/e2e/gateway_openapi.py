# SPDX-License-Identifier: Apache-2.0
"""The description of the gateway (openapi.yaml) is OpenAPI, is what the gateway serves, and has the routes, parameters and answers that
the code has: both ways. (The story: a comma in a flow mapping made two answers undescribed, and no reader of ours minded.)"""
import glob
import json
import os
import re
import shutil
import subprocess
import urllib.parse
from harness import Source, System, main, skip

try:
    import yaml
except ImportError:
    skip("no PyYAML (python3-yaml)")

GATEWAY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../gateway")
FILE = os.path.join(GATEWAY, "openapi.yaml")
with open(FILE) as f:
    API = yaml.safe_load(f)
METHODS = ("get", "put", "post", "delete")


def source(name):
    with open(os.path.join(GATEWAY, name)) as code:
        return code.read()


def resolved(node):
    while "$ref" in node:
        at = API
        for part in node["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        node = at
    return node


def operations():
    for path, item in API["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method], [resolved(p) for p in item.get("parameters", []) + item[method].get("parameters", [])]


def it_is_openapi():
    """By whichever validator is there; the structure that readers stumble over in any case."""
    command = os.environ.get("SANDLOG_OPENAPI_VALIDATOR") or (shutil.which("swagger-cli") and "swagger-cli validate")
    try:
        from openapi_spec_validator import validate
        validate(API)
        print("by openapi_spec_validator")
    except ImportError:
        pass
    if command:
        subprocess.run(command.split() + [FILE], check=True)
    assert API["openapi"].startswith("3.0.") and API["info"]["version"] and API["info"]["license"]["name"] == "Apache-2.0"

    def walk(node, path):
        if isinstance(node, dict):
            for key, value in node.items():
                assert value is not None, f"{path}/{key} is empty"
                if key == "$ref":
                    assert set(node) == {"$ref"} and resolved(node) is not None, path
                walk(value, f"{path}/{key}")
        elif isinstance(node, list):
            for i, value in enumerate(node):
                walk(value, f"{path}/{i}")
    walk(API, "")
    ids = [operation["operationId"] for _, _, operation, _ in operations()]
    assert len(ids) == len(set(ids))
    for path, method, operation, parameters in operations():
        where = f"{method} {path}"
        assert {p["name"] for p in parameters if p["in"] == "path"} == set(re.findall(r"{(\w+)}", path)), where
        assert len({(p["in"], p["name"]) for p in parameters}) == len(parameters), where
        assert all("schema" in p and p["in"] in ("path", "query", "header") and (p["in"] != "path" or p["required"]) for p in parameters), where
        for status, answer in operation["responses"].items():
            assert re.fullmatch(r"[2-5]\d\d", status) and set(resolved(answer)) <= {"description", "headers", "content"}, (where, status)
            assert resolved(answer)["description"], (where, status)


def every_parameter_of_the_code_is_described():
    aliases = dict(re.findall(r'{"(\w+)", (P_\w+)}', source("query.c")))
    assert len(aliases) > 20
    mains = {}
    for alias, parameter in aliases.items():
        mains.setdefault(parameter, alias)
    mains.pop("P_ACCESS_TOKEN")
    assert API["components"]["securitySchemes"]["query"]["name"] == "access_token"
    read = {p["name"]: p for path, _, _, ps in operations() if path.endswith("/logs") and "{id}" in path for p in ps if p["in"] == "query"}
    assert set(read) == set(mains.values()), set(read) ^ set(mains.values())
    for alias, parameter in aliases.items():
        if parameter in mains and alias != mains[parameter]:
            words = re.search(r"Also (.*)$", read[mains[parameter]]["description"])
            assert words and alias in words[1].split(", "), f"{alias} is another name of {mains[parameter]}"
    # The other routes ask for theirs by name.
    asked = set()
    for name in glob.glob(os.path.join(GATEWAY, "*.c")):
        asked |= set(re.findall(r'query_find\([^;]*?"(\w+)"', source(os.path.basename(name))))
        asked |= set(re.findall(r'sl_slice_of\("(sandbox|label)"\)', source(os.path.basename(name))))
    described = {p["name"] for _, _, _, ps in operations() for p in ps if p["in"] == "query"} | {"access_token"}
    assert asked <= described | set(aliases), asked - described


def every_parameter_described_is_taken():
    """A value that can't be right is refused by its name; a text that can't be wrong has its effect."""
    wrong = {"tail": "x", "since": "x", "until": "x", "after": "x", "before": "x", "follow": "x", "wait": "x", "data": "x", "timestamps": "x",
             "stream": "x", "container": "a b", "regex": "(", "ignore_case": "x", "limit": "x", "limit_bytes": "x", "format": "x", "gaps": "x",
             "state": "x", "prefix": "a b", "page": "x", "label": "x", "sandbox": "a b", "Last-Event-ID": "x", "max_bytes": "x"}
    with System() as s:
        Source(s, "box").write(4)
        s.has("box", 4)
        for path, method, _, parameters in operations():
            if method != "get" or path.startswith("/v1/export"):
                continue
            base = path.replace("{id}", "box")
            for p in parameters:
                name = p["name"]
                if p["in"] == "path":
                    continue
                if name == "grep":
                    other = {"sandbox": "box"} if path == "/v1/logs" else {}
                    found = [s.request("GET", base + "?" + urllib.parse.urlencode({**other, "format": "ndjson", "grep": text}))[2].count(b'"seq"')
                             for text in ("box/main", "nothing of the kind")]
                    assert found == [4, 0], (path, found)
                    continue
                query = {"sandbox": "box"} if path == "/v1/logs" and name not in ("sandbox", "label") else {}
                headers = {}
                if p["in"] == "header":
                    headers[name] = wrong[name]
                else:
                    query[name] = wrong[name]
                if name == "wait":
                    query["follow"] = "1"
                status, _, body = s.request("GET", base + "?" + urllib.parse.urlencode(query), headers=headers)
                assert status == 400 and json.loads(body)["type"].endswith("invalid-parameter"), (path, name, status, body)
                assert json.loads(body).get("parameter") == name, (path, name, body)


def answers_have_the_statuses_and_members_described():
    with System() as s:
        Source(s, "box").write(4)
        s.has("box", 4)
        s.put("old", state="stopped", exit_code=3)
        status, headers, served = s.get("/openapi.yaml")
        with open(FILE, "rb") as f:
            assert status == 200 and served == f.read() and headers["Content-Type"].startswith("application/yaml")

        def check(method, path, described, body=None):
            status, headers, data = s.request(method, path, body)
            operation = API["paths"][described][method.lower()]
            answer = resolved(operation["responses"][str(status)])
            kind = (headers["Content-Type"] or "").split(";")[0]
            assert kind in answer.get("content", {"": 0, "text/plain": 0}), (method, path, status, kind)
            if kind in ("application/json", "application/problem+json"):
                conform(json.loads(data), answer["content"][kind]["schema"], path)
            elif kind == "application/x-ndjson":
                for line in data.splitlines():
                    value = json.loads(line)
                    name = {"gap": "Gap", "end": "End", None: "Line"}[value.get("event")]
                    conform(value, API["components"]["schemas"][name], path)
        for method, path, described in (
                ("GET", "/v1/sandboxes", "/v1/sandboxes"), ("GET", "/v1/sandboxes?limit=1", "/v1/sandboxes"), ("GET", "/v1/sandboxes?limit=0", "/v1/sandboxes"),
                ("GET", "/v1/sandboxes/box", "/v1/sandboxes/{id}"), ("GET", "/v1/sandboxes/no", "/v1/sandboxes/{id}"),
                ("GET", "/v1/sandboxes/box/logs", "/v1/sandboxes/{id}/logs"), ("GET", "/v1/sandboxes/no/logs", "/v1/sandboxes/{id}/logs"),
                ("GET", "/v1/sandboxes/box/logs?format=ndjson", "/v1/sandboxes/{id}/logs"), ("GET", "/v1/sandboxes/box/logs?format=sse", "/v1/sandboxes/{id}/logs"),
                ("GET", "/v1/sandboxes/old/logs?follow=1", "/v1/sandboxes/{id}/logs"), ("GET", "/v1/sandboxes/box/logs?after=00000000-0a4b2b0a-1", "/v1/sandboxes/{id}/logs"),
                ("GET", "/v1/logs?sandbox=box&sandbox=old&format=ndjson", "/v1/logs"), ("GET", "/v1/logs?sandbox=no", "/v1/logs"), ("GET", "/v1/logs", "/v1/logs"),
                ("GET", "/healthz", "/healthz"), ("GET", "/readyz", "/readyz"), ("GET", "/metrics", "/metrics"), ("GET", "/status", "/status"), ("GET", "/", "/"),
                ("DELETE", "/v1/sandboxes/no", "/v1/sandboxes/{id}"), ("DELETE", "/v1/sandboxes/box", "/v1/sandboxes/{id}")):
            check(method, path, described)
        for body in ('{"state":"stopped","exit_code":null}', '{"labels":{"a":"b"}}', '{"state":"x"}', "x" * 70000):
            check("PUT", "/v1/sandboxes/new", "/v1/sandboxes/{id}", body)


def conform(value, schema, where):
    """As much of JSON Schema as the file uses."""
    schema = resolved(schema)
    if value is None:
        assert schema.get("nullable"), (where, schema)
        return
    if "oneOf" in schema:
        return
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "number": (int, float)}
    assert isinstance(value, kinds[schema["type"]]), (where, value, schema)
    assert "enum" not in schema or value in schema["enum"], (where, value, schema)
    if schema["type"] == "array":
        for item in value:
            conform(item, schema["items"], where)
    if schema["type"] == "object" and "properties" in schema:
        assert set(schema.get("required", ())) <= set(value), (where, value)
        assert set(value) <= set(schema["properties"]), (where, set(value) - set(schema["properties"]))
        for key, item in value.items():
            conform(item, schema["properties"][key], f"{where} {key}")


if __name__ == "__main__":
    main([it_is_openapi, every_parameter_of_the_code_is_described, every_parameter_described_is_taken, answers_have_the_statuses_and_members_described])
