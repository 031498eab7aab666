#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of the house, as a check: the law of rooms, licence lines, what may stand at the top, no unfinished work, no daemon that prints, a README
in each room, a fuzz target for each parser.

    rules.py [TREE]        one line for each violation, exit status 1 if there is any
    rules.py --self-test   plants a violation of each rule in a small tree and sees that it is named
"""
import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tempfile

TOP = {"broker", "collector", "gateway", "tests", "bench", "CMakeLists.txt", "README.md"}
ROOMS = ["collector", "broker", "broker/wire", "broker/store", "gateway", "gateway/cli", "gateway/page", "gateway/dialects"]

# Whose headers a room may include beside its own. The longest matching folder decides.
MAY_ENTER = {
    "broker/wire": {"wire"},
    "broker/store": {"wire", "store"},
    "broker": {"wire", "store"},
    "collector": {"wire"},
    "gateway": {"wire", "page", "dialects"},
    "gateway/cli": {"wire"},
    "gateway/dialects": {"wire"},
    "gateway/page": {"wire", "page"},
}
ROOM_NAMES = {"wire", "store", "collector", "gateway", "broker", "page", "cli", "dialects"}

# A library, how an include of it begins, and the files that may have it.
LIBRARIES = [
    ("nng", r"nng/", r"broker/wire/(link_[a-z_]+|ops)\.[ch]$|broker/[a-z_]+\.[ch]$|collector/|gateway/(?!cli/|page/)"
                     r"|tests/unit/(link|broker|collector|gateway)_|tests/fault/|bench/"),
    ("libwebsockets", r"libwebsockets", r"gateway/(?!cli/|page/)|tests/unit/gateway_"),
    ("hiredis", r"(hiredis/|hiredis\.h)", r"broker/store/redis/|tests/[a-z]+/store_redis|bench/redis_"),
    ("libcurl", r"curl/", r"gateway/cli/|broker/export|tests/unit/cli_"),
]

# Targets that CMake must not link with each other: (file, what must not stand in a target_link_libraries of it).
LINKS = [
    ("broker/store/CMakeLists.txt", {"link", "nng::nng", "PkgConfig::LWS"}),
    ("collector/CMakeLists.txt", {"store", "PkgConfig::LWS"}),
    ("gateway/CMakeLists.txt", {"store"}),
    ("gateway/cli/CMakeLists.txt", {"store", "link", "nng::nng", "PkgConfig::LWS"}),
]

# Everything that reads foreign bytes, and the fuzz targets one of which must cover it.
PARSERS = [
    ("broker/wire/block.c", ["wire_block"]),
    ("broker/wire/record.c", ["wire_record"]),
    ("broker/wire/message.c", ["wire_message"]),
    ("broker/wire/timestamp.c", ["wire_timestamp"]),
    ("broker/store/disk", ["store_*"]),
    ("collector/cri.c", ["collector_cri"]),
    ("collector/docker.c", ["collector_docker"]),
    ("collector/pattern.c", ["collector_pattern", "collector_watch"]),
    ("gateway/query.c", ["gateway_query"]),
    ("gateway/cursor.c", ["gateway_cursor"]),
    ("gateway/render.c", ["gateway_render"]),
    ("gateway/filter.c", ["gateway_filter"]),
    ("gateway/pattern.c", ["gateway_pattern", "gateway_filter"]),
    ("gateway/dialects/docker_query.c", ["dialects_query"]),
    ("gateway/dialects/kube_query.c", ["dialects_query"]),
]

NOT_OURS = re.compile(r"^tests/samples/|^tests/fuzz/corpus/|(^|/)vendor/|^tests/[a-z]+/golden/")
SOURCE = re.compile(r"\.(c|h|py|sh|js|mjs|css|yaml|yml|cmake)$|(^|/)CMakeLists\.txt$|^\.ci/run$|^bench/run$")
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")
# What daemons say they log: nothing of them stands on standard output but what was asked for by a flag.
SILENT = re.compile(r"^(broker|collector|gateway)/(?!cli/|check\.c$|wire/options)[^ ]*\.c$")
PRINTS = re.compile(r"^[^/*]*(?<![a-z_])(printf|puts|putchar)\(")
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)


def listed(tree):
    """Files of the tree: those that git knows, else all but build folders."""
    if shutil.which("git"):
        run = subprocess.run(["git", "-C", tree, "ls-files", "-z"], capture_output=True, check=False)
        top = subprocess.run(["git", "-C", tree, "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=False)
        if run.returncode == 0 and os.path.realpath(top.stdout.strip()) == os.path.realpath(tree):
            names = [name for name in run.stdout.decode().split("\0") if name]
            return sorted(name for name in names if os.path.isfile(os.path.join(tree, name)))
    names = []
    for folder, folders, files in os.walk(tree):
        here = os.path.relpath(folder, tree)
        if here == ".":
            folders[:] = [f for f in folders if not f.startswith("build") and f not in (".git", "sandlog-data")]
        folders[:] = [f for f in folders if f not in ("node_modules", "__pycache__")]
        names += [os.path.normpath(os.path.join(here, f)) for f in files]
    return sorted(names)


def room_of(path):
    """The innermost room that the file lies in, or None."""
    inside = [room for room in MAY_ENTER if path.startswith(room + "/")]
    return max(inside, key=len) if inside else None


def check_includes(tree, path, text):
    room = room_of(path)
    for quote, name in INCLUDE.findall(text):
        if ".." in name.split("/"):
            target = os.path.normpath(os.path.join(os.path.dirname(path), name))
            if (room_of(target) or target.split("/")[0]) != (room or path.split("/")[0]):
                yield f"{path}: includes {name}: a path with .. walks round the law of rooms"
            continue
        for library, begins, allowed in LIBRARIES:
            if re.match(begins, name) and not re.match(allowed, path):
                yield f"{path}: includes <{name}>: {library} has no business here"
        if room is None or quote == "<":
            continue
        first = name.split("/")[0] if "/" in name else None
        own = os.path.dirname(path)
        if os.path.isfile(os.path.join(tree, own, name)) or os.path.isfile(os.path.join(tree, room, name)):
            continue
        if first in ROOM_NAMES and first not in MAY_ENTER[room]:
            yield f'{path}: includes "{name}": {room} may not enter {first}'


def check_licence(path, text):
    lines = text.split("\n")
    if path.endswith((".c", ".h")):
        if lines[0] != "// SPDX-License-Identifier: Apache-2.0":
            yield f"{path}: the first line must be // SPDX-License-Identifier: Apache-2.0"
    elif not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:3]):
        yield f"{path}: no SPDX-License-Identifier line at the top"


def check_links(tree):
    for path, forbidden in LINKS:
        try:
            text = open(os.path.join(tree, path), encoding="utf-8").read()
        except FileNotFoundError:
            continue
        for call in re.findall(r"target_link_libraries\(([^)]*)\)", re.sub(r"#.*", "", text)):
            for word in sorted(set(call.split()[1:]) & forbidden):
                yield f"{path}: links {word}, which the law of rooms forbids"


def check_parsers(tree, names):
    known = set(names)
    for parser, targets in PARSERS:
        if parser not in known and not any(name.startswith(parser + "/") for name in known):
            yield f"{parser}: is listed in tests/house/rules.py as a parser and is not there"
        elif not any(fnmatch.filter(names, f"tests/fuzz/{target}.c") for target in targets):
            yield f"{parser}: no fuzz target (tests/fuzz/{targets[0]}.c)"
    for name in names:
        target = re.match(r"tests/fuzz/([a-z]+_[a-z0-9_]+)\.c$", name)
        if target and not any(other.startswith(f"tests/fuzz/corpus/{target[1]}/") for other in names):
            yield f"{name}: has no seed corpus (tests/fuzz/corpus/{target[1]}/)"


def violations(tree):
    names = listed(tree)
    for top in sorted({name.split("/")[0] for name in names}):
        if top not in TOP and not top.startswith("."):
            yield f"{top}: nothing but rooms, CMakeLists.txt, README.md and dotfiles stands at the top"
    for room in ROOMS:
        if any(name.startswith(room + "/") for name in names) and f"{room}/README.md" not in names:
            yield f"{room}: a room has a README.md"
    yield from check_links(tree)
    yield from check_parsers(tree, names)
    for name in names:
        if NOT_OURS.search(name):
            continue
        try:
            text = open(os.path.join(tree, name), encoding="utf-8").read()
        except UnicodeDecodeError:
            continue
        if SOURCE.search(name):
            yield from check_licence(name, text)
        if name.endswith((".c", ".h")):
            yield from check_includes(tree, name, text)
        for number, line in enumerate(text.split("\n"), 1):
            found = UNFINISHED.search(line)
            if found:
                yield f"{name}:{number}: {found[0]}: finish it or file it, do not leave it here"
            if SILENT.search(name) and PRINTS.search(line):
                yield f"{name}:{number}: prints; a daemon logs (wire/diagnostics.h)"


# ---- the self-test ----

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
HASH = "# SPDX-License-Identifier: Apache-2.0\n"


def sound_tree():
    """A tree that breaks no rule, as {path: text}."""
    tree = {"README.md": "", "CMakeLists.txt": HASH, ".gitignore": "", "bench/run": HASH}
    for room in ROOMS:
        tree[f"{room}/README.md"] = ""
    tree["broker/wire/slice.h"] = SPDX
    tree["broker/wire/link_client.c"] = SPDX + "#include <nng/nng.h>\n"
    tree["broker/store/store.h"] = SPDX + '#include "wire/slice.h"\n'
    tree["broker/store/disk/log.c"] = SPDX + '#include "../store.h"\n'
    tree["broker/main.c"] = SPDX + '#include "store/store.h"\n#include "wire/slice.h"\n'
    tree["collector/main.c"] = SPDX + '#include "wire/slice.h"\n'
    tree["gateway/main.c"] = SPDX + '#include "page/page.h"\n#include <libwebsockets.h>\n'
    tree["gateway/page/page.h"] = SPDX
    tree["tests/unit/wire_pair.h"] = SPDX
    tree["tests/fuzz/wire_more.c"] = SPDX + '#include "../unit/wire_pair.h"\n'
    tree["tests/fuzz/corpus/wire_more/seed"] = "x"
    tree["collector/CMakeLists.txt"] = HASH + "target_link_libraries(collector PUBLIC link wire) # no store\n"
    for parser, targets in PARSERS:
        tree[parser if parser.endswith(".c") else parser + "/x.c"] = SPDX
        target = targets[0].replace("*", "x")
        tree[f"tests/fuzz/{target}.c"] = SPDX
        tree[f"tests/fuzz/corpus/{target}/seed"] = "x"
    return tree


# (what is planted, what the one complaint must say); a text of None takes the file away
PLANTED = [
    ({"broker/wire/block.c": SPDX + "#include <nng/nng.h>\n"}, "broker/wire/block.c: includes <nng/nng.h>: nng"),
    ({"broker/store/store.h": SPDX + "#include <nng/nng.h>\n"}, "broker/store/store.h: includes <nng/nng.h>: nng"),
    ({"broker/store/store.h": SPDX + "#include <libwebsockets.h>\n"}, "libwebsockets has no business here"),
    ({"collector/main.c": SPDX + "#include <libwebsockets.h>\n"}, "libwebsockets has no business here"),
    ({"gateway/cli/main.c": SPDX + "#include <nng/nng.h>\n"}, "gateway/cli/main.c: includes <nng/nng.h>: nng"),
    ({"broker/main.c": SPDX + "#include <hiredis/hiredis.h>\n"}, "hiredis has no business here"),
    ({"broker/store/disk/x.c": SPDX + "#include <hiredis.h>\n"}, "hiredis has no business here"),
    ({"collector/main.c": SPDX + '#include "store/store.h"\n'}, "collector may not enter store"),
    ({"gateway/main.c": SPDX + '#  include "store/store.h"\n'}, "gateway may not enter store"),
    ({"broker/wire/slice.h": SPDX + '#include "store/store.h"\n'}, "broker/wire may not enter store"),
    ({"gateway/main.c": SPDX + '#include "../broker/store/store.h"\n'}, "walks round the law of rooms"),
    ({"tests/unit/wire_pair.h": SPDX + '#include "../../broker/wire/slice.h"\n'}, "walks round the law of rooms"),
    ({"tests/fuzz/store_x.c": None}, "broker/store/disk: no fuzz target"),
    ({"collector/CMakeLists.txt": HASH + "target_link_libraries(collector PUBLIC\n  wire store)\n"}, "links store"),
    ({"collector/main.c": "int main(void);\n"}, "collector/main.c: the first line must be"),
    ({"bench/run": "#!/bin/sh\n"}, "bench/run: no SPDX-License-Identifier"),
    ({"notes.txt": ""}, "notes.txt: nothing but rooms"),
    ({"docs/x.md": ""}, "docs: nothing but rooms"),
    ({"collector/main.c": SPDX + "/* " + "TO" + "DO later */\n"}, "collector/main.c:2: TO" + "DO"),
    ({"README.md": "X" * 3 + " here\n"}, "README.md:1: " + "X" * 3),
    ({"collector/main.c": SPDX + '    printf("seen\\n");\n'}, "collector/main.c:2: prints"),
    ({"collector/README.md": None}, "collector: a room has a README.md"),
    ({"tests/fuzz/collector_cri.c": None}, "collector/cri.c: no fuzz target (tests/fuzz/collector_cri.c)"),
    ({"tests/fuzz/corpus/collector_cri/seed": None}, "tests/fuzz/collector_cri.c: has no seed corpus"),
    ({"collector/cri.c": None}, "collector/cri.c: is listed in tests/house/rules.py"),
]


def found_in(tree):
    with tempfile.TemporaryDirectory(prefix="sandlog-house-") as folder:
        for path, text in tree.items():
            if text is not None:
                os.makedirs(os.path.dirname(os.path.join(folder, path)), exist_ok=True)
                with open(os.path.join(folder, path), "w", encoding="utf-8") as out:
                    out.write(text)
        return list(violations(folder))


def self_test():
    failures = [f"a sound tree is blamed: {line}" for line in found_in(sound_tree())]
    for planted, wanted in PLANTED:
        found = found_in({**sound_tree(), **planted})
        if len(found) != 1 or wanted not in found[0]:
            failures.append(f"planted {planted}: wanted one complaint with {wanted!r}, got {found}")
    return failures


def main():
    if sys.argv[1:] == ["--self-test"]:
        found = self_test()
        done = f"{len(PLANTED)} planted violations, all named"
    else:
        tree = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "..")
        found = list(violations(os.path.normpath(tree)))
        done = "the rules are kept"
    print("\n".join(found) if found else done)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
