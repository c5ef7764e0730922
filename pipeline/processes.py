"""Processes of this machine, told from later ones with the same number."""

from pathlib import Path


def born(pid: int) -> str:
    """When a process began, in its kernel's ticks; empty when there is none, or only its remains."""
    try:
        state, *facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else facts[18]  # field 22 of proc(5)
