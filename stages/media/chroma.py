"""Where the chroma samples of 4:2:0 pictures lie: PyAV does not say, and ffmpeg prints it."""

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg

from stages.errors import DubError
from stages.media.open import FORMATS, PROTOCOLS
from stages.media.settings import MediaLimits

UNSPECIFIED = "unspecified"
_KNOWN = {"left", "center", "topleft", "top", "bottomleft", "bottom"}


def chroma_location(path: Path, stream: int, limits: MediaLimits) -> str:
    """FFmpeg's name for the place of a stream's chroma samples, as its header has it; `unspecified` where it has none.

    H.264 and HEVC say `left` when nothing is said. Costs some 15 ms. Raises DubError `timeout`.
    """
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-loglevel", "verbose"]
    command += ["-protocol_whitelist", PROTOCOLS, "-format_whitelist", FORMATS, "-max_pixels", str(limits.max_pixels)]
    try:
        # Without an output ffmpeg describes the input and ends with an error.
        done = subprocess.run(
            [*command, "-i", f"file:{path}"], capture_output=True, timeout=limits.open_timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DubError(
            "timeout", f"{path}: no data within {limits.open_timeout_s:g} s (media.limits.open_timeout_s)"
        ) from error
    line = rf"^\s*Stream #0:{stream}\b.*? Video: .*?\byuvj?420p\w*\(([^)]*)\)"
    found = re.search(line, done.stderr.decode(errors="replace"), re.MULTILINE)
    words = set(found[1].split(", ")) & _KNOWN if found else set()
    return words.pop() if words else UNSPECIFIED
