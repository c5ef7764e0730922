"""What every process of a run pays before its first row."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "diffusers", "spandrel", "onnxruntime", "scipy", "numba", "sklearn", "pandas")


def test_the_graph_loads_no_network_library() -> None:
    """Every actor imports the whole graph, the driver too: torch alone would cost each 3 s and 500 MB."""
    code = f"import sys, pipeline.flow, pipeline.cli\nprint([m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
