# SPDX-License-Identifier: Apache-2.0
"""What a daemon of a test asks of the C library and of LZ4: `with counted():` around its start, then Calls(process).

    with counted():
        system.start("gateway")
    calls = Calls(system.process["gateway"])
    before = calls.now()
    ...
    spent = calls.since(before)      # spent["malloc"].calls, spent["send"].bytes, ...
"""
import collections
import contextlib
import os
import struct
import subprocess
import tempfile

from harness import BIN, skip, until

LIBRARY = os.path.join(BIN, "../tests/libcount_calls.so")
Count = collections.namedtuple("Count", "calls bytes")
_folder = None


def supported():
    """Skips the test where a library can't be put in front: sanitizers bring allocators of their own."""
    if not os.path.exists(LIBRARY):
        skip("no " + LIBRARY)
    needs = subprocess.run(["ldd", os.path.join(BIN, "sandlog-gateway")], stdout=subprocess.PIPE, text=True).stdout
    if "libasan" in needs or "libtsan" in needs:
        skip("a sanitizer counts its own allocations")


@contextlib.contextmanager
def counted():
    """Programs started within are counted."""
    global _folder
    supported()
    _folder = _folder or tempfile.TemporaryDirectory(prefix="sandlog-calls-")
    os.environ.update(LD_PRELOAD=os.path.abspath(LIBRARY), COUNT_CALLS=_folder.name + "/calls")
    try:
        yield
    finally:
        del os.environ["LD_PRELOAD"], os.environ["COUNT_CALLS"]


class Calls:
    def __init__(self, process):
        self.path = f"{_folder.name}/calls.{process.pid}"
        until(lambda: os.path.exists(self.path) and os.path.getsize(self.path), what="counters")

    def now(self):
        with open(self.path, "rb") as f:
            data = f.read()
        return {name.rstrip(b"\0").decode(): Count(calls, size) for name, calls, size in struct.iter_unpack("<16sQQ", data)}

    def since(self, before):
        return {name: Count(c.calls - before[name].calls, c.bytes - before[name].bytes) for name, c in self.now().items()}


def total(spent, *names):
    return Count(sum(spent[n].calls for n in names), sum(spent[n].bytes for n in names))


ALLOCATIONS = ("malloc", "calloc", "realloc")
READS = ("read", "pread", "readv", "recv", "recvmsg")
WRITES = ("write", "pwrite", "writev", "pwritev", "send", "sendto", "sendmsg")
