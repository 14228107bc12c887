"""A program: a real Ray cluster of two nodes on this machine, for tests. `python -m tests.translation.two_nodes GPUS`.

It says on stdout where the cluster is. At a line on stdin it kills the second node as a power cut would, and says that
it is done. At the end of its input it ends all that it started.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any

ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # and so the loopback alone
NOTICED = {"health_check_period_ms": 1000, "health_check_timeout_ms": 10000, "health_check_failure_threshold": 8}
STORE = 100 * 2**20


def main(gpus: int) -> None:
    """Serve until stdin ends."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.makedirs(os.path.join(folder, "ray"))
        os.environ |= ENVIRONMENT | {"RAY_TMPDIR": folder}
        from ray.cluster_utils import Cluster

        node: dict[str, Any] = {"num_cpus": 2, "num_gpus": gpus, "object_store_memory": STORE}
        head = node | {"node_ip_address": "127.0.0.1", "include_dashboard": False, "_system_config": NOTICED}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        node |= {"node_ip_address": "127.0.0.2"}  # or drivers, which are at the first address, might belong to it
        second = cluster.add_node(**node)
        say(cluster.address)
        try:
            for _ in sys.stdin:
                cluster.remove_node(second, allow_graceful=False)
                say("done")
        finally:
            cluster.shutdown()


def say(text: str) -> None:
    """One line of JSON for the test."""
    sys.stdout.write(json.dumps({"says": text}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
