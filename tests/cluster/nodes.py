"""A Ray of several machines on this one, in a process of its own: `python -m tests.cluster.nodes 3`.

Prints one line of JSON, the address and the ids of the machines that may be lost. Then it loses the one whose id it
reads, line by line, and answers; at the end of its input everything ends.
"""

import json
import sys

from ray.cluster_utils import Cluster

_STORE_BYTES = 100 << 20


def main(count: int) -> None:
    head = {"num_cpus": 2, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=2, object_store_memory=_STORE_BYTES, wait=False) for _ in range(count - 1)]
    cluster.wait_for_nodes()
    try:
        print(json.dumps({"address": cluster.address, "nodes": [node.node_id for node in nodes]}), flush=True)
        for line in sys.stdin:
            [lost] = [node for node in nodes if node.node_id == line.strip()]
            cluster.remove_node(lost, allow_graceful=False)
            print("gone", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
