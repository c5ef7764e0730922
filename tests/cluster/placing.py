"""Where stages land: a run without media on a head without CPUs, two machines with CPUs and one with a GPU that is only
a number: `python -m tests.cluster.placing FOLDER FILMS LOST`.

LOST, `cpu` or `gpu`, is killed while it works, and another one of its kind joins. Prints JSON: the films' codes, rows
by machine and stage, and after how many seconds the new one's first row was out.
"""

import json
import signal
import sys
import time
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
_AWAY_S = {"cpu": 1, "gpu": 10}
"""Until the lost one's successor is begun: others do a CPU machine's work meanwhile, none a GPU's."""


class Night:
    """The machines, and what is seen of them as rows come."""

    def __init__(self, lost: str) -> None:
        self._lost = lost
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
        self._lost_at = 0.0
        self.back_s = 0.0
        signal.signal(signal.SIGALRM, self._join)  # Ray starts machines in the main thread only

    def seen(self, row: Row) -> None:
        """Counts a row; the first film out takes a machine with it."""
        named = {node.node_id: name for name, node in self.nodes.items()}
        for stage, node in row.facts.get("on", {}).items():
            self.rows[named[node]][stage] += 1
        if self.rows["late"] and not self.back_s:
            self.back_s = time.monotonic() - self._lost_at
        if row.kind == "film" and row.code and not self._lost_at:
            self.cluster.remove_node(self.nodes[self._lost], allow_graceful=False)
            self._lost_at = time.monotonic()
            signal.alarm(_AWAY_S[self._lost])

    def _join(self, *_: object) -> None:
        self.nodes["late"] = self.cluster.add_node(wait=False, **(_GPU if self._lost == "gpu" else _CPU))


def main(folder: Path, films: int, lost: str) -> None:
    night = Night(lost)
    ray.init(address=night.cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        path = null.write_manifest(folder / "night.jsonl", films, 2, 8)
        weights = write(folder / "wav2lip.pth", "behaves")
        lips = {"generator": "wav2lip", "device": "cuda", "wav2lip": {"weights": str(weights)}}
        with mock.patch.object(flow, "STEPS", placed.STEPS):
            config = Config.model_validate({"lips": lips})
            report = dub(str(path), config, str(folder / "work"), executor="ray", on_row=night.seen)
        codes = Counter(film.code for film in report.all_films)
        print(json.dumps({"codes": codes, "rows": night.rows, "back_s": night.back_s}), flush=True)
    finally:
        ray.shutdown()
        night.cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
