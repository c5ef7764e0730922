"""Loudness by EBU R128: measured with ffmpeg's ebur128, changed with its loudnorm in a second pass."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import ffmpeg

from stages.errors import DubError
from stages.mux.ffmpeg import arguments, run

_SILENCE_LUFS: Final = -70.0
"""The absolute gate of BS.1770: what never rises above it is not measured."""
_PEAK_DBTP: Final = -1.0
"""The highest true peak that a gain may lead to (EBU R128)."""
_WIDEST_LU: Final = 50.0  # the largest range that loudnorm takes
TOLERANCE_LU: Final = 0.5
"""How far a delivered loudness may be from its target (EBU R128)."""
NOTHING_TO_DO_LU: Final = 0.1
"""The measure's own step."""

_NUMBER = r"\s+(-?(?:[\d.]+|inf|nan))"
_FIELDS = {
    "integrated_lufs": re.compile(rf"^\s+I:{_NUMBER} LUFS", re.M),
    "threshold_lufs": re.compile(rf"^\s+Threshold:{_NUMBER} LUFS", re.M),
    "range_lu": re.compile(rf"^\s+LRA:{_NUMBER} LU", re.M),
    "true_peak_dbtp": re.compile(rf"^\s+Peak:{_NUMBER} dBFS", re.M),
}
_SUMMARY = re.compile(r"\[ebur128@(\w+) @ [^\]]*\] (?:\[info\] )?Summary:")
_NORMALIZATION = re.compile(r"\[Parsed_loudnorm_\d+ @ [^\]]*\]\s*(\{.*?\})", re.S)


@dataclass(frozen=True)
class Loudness:
    """A sound by EBU R128; None where there is nothing above the gate to measure."""

    integrated_lufs: float | None
    true_peak_dbtp: float | None
    range_lu: float | None
    threshold_lufs: float | None
    """The relative gate, which loudnorm asks for."""

    def facts(self) -> dict[str, float | None]:
        """For the report."""
        return {
            "integrated_lufs": self.integrated_lufs,
            "true_peak_dbtp": self.true_peak_dbtp,
            "range_lu": self.range_lu,
        }


def measure(sounds: Mapping[str, Any], timeout_s: float) -> dict[str, Loudness]:
    """The loudness of ffmpeg-python streams, by name, each decoded once, all in one ffmpeg.

    Names are of letters. Raises DubError `internal`, `timeout`.
    """
    if not sounds:
        return {}
    ends = [
        sound.filter(f"ebur128@{name}", peak="true", framelog="quiet", dualmono="0") for name, sound in sounds.items()
    ]
    said = run(
        arguments(ffmpeg.output(*ends, "-", format="null"), level="info"), timeout_s, "measuring the sounds' loudness"
    )
    _, *parts = _SUMMARY.split(said)
    found = {name: _read(text) for name, text in zip(parts[::2], parts[1::2], strict=True)}
    if set(found) != set(sounds):
        raise DubError("internal", f"ffmpeg measured {sorted(found)}, not {sorted(sounds)}")
    return found


def _read(text: str) -> Loudness:
    values: dict[str, float | None] = {}
    for name, pattern in _FIELDS.items():
        match = pattern.search(text)
        value = float(match[1]) if match else math.nan
        values[name] = value if math.isfinite(value) else None
    loud = values["integrated_lufs"]
    if loud is None or loud <= _SILENCE_LUFS:
        return Loudness(None, values["true_peak_dbtp"], None, None)
    return Loudness(**values)


def gained(sound: Any, measured: Loudness, target_lufs: float, rate: int) -> Any:
    """The sound brought to a target, as an ffmpeg-python stream; `normalization` tells how it was done.

    A plain gain, unless it would lift peaks over -1 dBTP: then ffmpeg compresses.
    """
    range_lu = measured.range_lu or 0.0
    normal = sound.filter(
        "loudnorm",
        I=f"{target_lufs:.2f}",
        TP=f"{_PEAK_DBTP}",
        # A range that is larger than its target would be compressed, and one of 0 is taken for not measured.
        LRA=f"{min(_WIDEST_LU, math.ceil(range_lu) + 1.0)}",
        measured_I=f"{measured.integrated_lufs}",
        measured_TP=f"{measured.true_peak_dbtp}",
        measured_LRA=f"{max(0.1, range_lu)}",
        measured_thresh=f"{measured.threshold_lufs}",
        linear="true",
        print_format="json",
    )
    return normal.filter("aresample", str(rate))  # compressing leaves 192 kHz behind


def normalization(said: str) -> str:
    """`linear` or `dynamic`, from what ffmpeg said while `gained` ran. Raises DubError `internal`."""
    match = _NORMALIZATION.search(said)
    if match is None:
        raise DubError("internal", "ffmpeg did not say how it changed the loudness")
    return str(json.loads(match[1])["normalization_type"])
