# SPDX-License-Identifier: Apache-2.0
"""A Redis Cluster of three masters with a replica each, two brokers and their followers on it: masters killed and slots moved while lines
flow. Each line once, at either broker."""
import os
import shutil
import subprocess
import tempfile

os.environ["SANDLOG_TEST_STORE"] = "redis"
from harness import Redis, free_port, main, skip, until  # noqa: E402  (reads the variable)
from redis_brokers import Many  # noqa: E402
from redis_trouble import Load, is_well  # noqa: E402

MASTERS = 3


class Node(Redis):
    def __init__(self):
        self.program = shutil.which("redis-server")
        self.dir, self.process = tempfile.mkdtemp(prefix="sandlog-redis-"), None
        self.port = free_port()
        while self.port > 55000:  # its bus is 10,000 above
            self.port = free_port()
        self.options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0", "--appendonly", "yes"]
        self.start()


class Cluster:
    def __enter__(self):
        if not shutil.which("redis-server") or not shutil.which("redis-cli"):
            skip("no redis-server or redis-cli on this machine")
        self.nodes = [Node() for _ in range(2 * MASTERS)]
        self.cli("create", *[f"127.0.0.1:{n.port}" for n in self.nodes], "--cluster-replicas", "1", "--cluster-yes")
        until(lambda: all(b"cluster_state:ok" in self.ask(n, "CLUSTER INFO") for n in self.nodes), 30, "the cluster stands")
        until(lambda: sum(n.command("ROLE") is not None and b"slave" in self.ask(n, "INFO replication") and
                          b"master_link_status:up" in self.ask(n, "INFO replication") for n in self.nodes) == MASTERS, 30, "replicas follow")
        return self

    def __exit__(self, *args):
        for n in self.nodes:
            n.close()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.nodes[0].port},127.0.0.1:{self.nodes[1].port},127.0.0.1:{self.nodes[2].port}"

    def cli(self, *words):
        return subprocess.run(["redis-cli", "--cluster", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=True, timeout=120).stdout

    @staticmethod
    def ask(node, text):
        return subprocess.run(["redis-cli", "-p", str(node.port), *text.split()], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout

    def try_cli(self, *words):
        """redis-cli refuses as long as its servers do not agree, which takes a moment after each change."""
        try:
            self.cli(*words)
            return True
        except subprocess.CalledProcessError:
            return False

    def master_of(self, key):
        """Who has it, and is alive and a master."""
        for n in self.nodes:
            if n.process.poll() is None and self.ask(n, f"EXISTS {key}").strip() == b"1":
                return n


def masters_killed_and_slots_moved_under_load_lose_and_double_nothing():
    with Cluster() as cluster, Many(2, at=1, url=cluster.url, more="?replicas=1") as s, Load(s) as load:
        load.flows()
        for sandbox in ("one", "two"):
            victim = until(lambda: cluster.master_of(f"sandlog:{{{sandbox}}}:h"), 20, "who has it")
            victim.kill()
            until(lambda: cluster.master_of(f"sandlog:{{{sandbox}}}:h"), 30, "its replica takes over")
            load.flows(sandbox)
            victim.start()
            until(lambda: b"master_link_status:up" in cluster.ask(victim, "INFO replication"), 60, "it is a replica now")
            is_well(s)
        # Most slots of one master go to the others, key by key, and come back.
        giver = cluster.master_of("sandlog:{one}:h")
        name = cluster.ask(giver, "CLUSTER MYID").strip().decode()
        at = f"127.0.0.1:{giver.port}"
        until(lambda: cluster.try_cli("rebalance", at, "--cluster-threshold", "1", "--cluster-weight", f"{name}=0.01"), 60, "slots moved")
        assert cluster.master_of("sandlog:{one}:h") is not None
        load.flows()
        until(lambda: cluster.try_cli("rebalance", at, "--cluster-threshold", "1"), 60, "slots moved back")
        load.flows()


if __name__ == "__main__":
    main([masters_killed_and_slots_moved_under_load_lose_and_double_nothing])
