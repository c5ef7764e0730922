"""The ffmpeg program: argument lists, no shell, demuxers and protocols from fixed lists, a time limit."""

import errno
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import ffmpeg
import imageio_ffmpeg

from stages.errors import DubError
from stages.media.open import FORMATS, PROTOCOLS

_TOLD: Final = 3  # lines of ffmpeg's last words in a message


def media_input(path: Path, **options: str) -> Any:
    """A media file as an input of ffmpeg-python."""
    return ffmpeg.input(f"file:{path}", protocol_whitelist=PROTOCOLS, format_whitelist=FORMATS, **options)


def arguments(output: Any, *, level: str = "error") -> list[str]:
    """The command of an ffmpeg-python output. `level`: `info` where a filter's words are wanted."""
    # Without copyts ffmpeg moves every input to 0 by itself, and picture and sound apart (media.md 7.3). How much
    # damage is too much is decided where a dub is first decoded; ffmpeg counts a packet's errors twice.
    own = ("-copyts", "-max_error_rate", "1", "-nostdin", "-nostats", "-y", "-hide_banner", "-loglevel", level)
    output = output.global_args(*own)
    return [imageio_ffmpeg.get_ffmpeg_exe(), *output.get_args()]


def run(command: list[str], timeout_s: float, what: str) -> str:
    """What ffmpeg said. Raises DubError `timeout`, or `internal` with its last words; `what` could not be done."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise DubError("timeout", f"{what} took longer than {timeout_s:.0f} s (mux.timeout_s)") from error
    said = done.stderr.decode(errors="replace")
    if done.returncode:
        if "No space left on device" in said:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # `publishing` knows which disk
        raise DubError("internal", f"ffmpeg failed: {what}: {' / '.join(said.strip().splitlines()[-_TOLD:])}")
    return said
