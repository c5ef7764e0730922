"""Where stages land: a run without media on a head without CPUs, two machines with CPUs and one with a GPU that is only
a number: `python -m tests.cluster.placing FOLDER FILMS`.

One of those with CPUs is lost while it works, and another one joins. Prints JSON: the films' codes, and rows by machine
and stage.
"""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from unittest import mock

import ray
from ray.cluster_utils import Cluster

from pipeline import Config, dub, flow
from pipeline.rows import Row
from tests.bench import null
from tests.cluster import placed
from tests.lips.wav2lip.checkpoints import write

_STORE_BYTES = 100 << 20
_CPU = {"num_cpus": 4, "object_store_memory": _STORE_BYTES}
_GPU = {**_CPU, "num_gpus": 1}


class Night:
    """The machines, and what is seen of them as rows come."""

    def __init__(self) -> None:
        head = {"num_cpus": 0, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = {
            "head": self.cluster.head_node,
            "cpu": self.cluster.add_node(wait=False, **_CPU),
            "other": self.cluster.add_node(wait=False, **_CPU),
            "gpu": self.cluster.add_node(wait=False, **_GPU),
        }
        self.cluster.wait_for_nodes()
        self.rows: dict[str, Counter[str]] = defaultdict(Counter)

    def seen(self, row: Row) -> None:
        """Counts a row; the first film out takes a machine with it, and brings another."""
        named = {node.node_id: name for name, node in self.nodes.items()}
        for stage, node in row.facts.get("on", {}).items():
            self.rows[named[node]][stage] += 1
        if row.kind == "film" and row.code and "late" not in self.nodes:
            self.cluster.remove_node(self.nodes["cpu"], allow_graceful=False)
            self.nodes["late"] = self.cluster.add_node(wait=False, **_CPU)


def main(folder: Path, films: int) -> None:
    night = Night()
    ray.init(address=night.cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        path = null.write_manifest(folder / "night.jsonl", films, 2, 8)
        weights = write(folder / "wav2lip.pth", "behaves")
        lips = {"generator": "wav2lip", "device": "cuda", "wav2lip": {"weights": str(weights)}}
        with mock.patch.object(flow, "STEPS", placed.STEPS):
            config = Config.model_validate({"lips": lips})
            report = dub(str(path), config, str(folder / "work"), executor="ray", on_row=night.seen)
        codes = Counter(film.code for film in report.all_films)
        print(json.dumps({"codes": codes, "rows": night.rows, "wall_s": report.wall_s}), flush=True)
    finally:
        ray.shutdown()
        night.cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
