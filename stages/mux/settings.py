"""How the finished film is put together."""

from typing import Any, Literal

from pydantic import Field, field_validator

from stages.settings import Settings

_TARGETS = (-70.0, -5.0)  # LUFS that ffmpeg's loudnorm takes


class MuxSettings(Settings):
    """The dub's encoding and the final container."""

    audio_codec: str = Field("auto", pattern="^(auto|aac|libopus|flac|alac|pcm_s16le)$")
    """Codec of the dub, `auto`, `aac`, `libopus`, `flac`, `alac` or `pcm_s16le`. `auto` copies the dub's own packets
    where the container's players know the codec and nothing has to be done to the sound; else it is AAC, in WebM
    Opus. The others always encode, once, for the whole film."""
    audio_bitrate_kbps: int = Field(192, ge=32, le=1536)
    """Bit rate of the dub where it is encoded as aac or libopus; libopus takes 256 for each channel at most."""
    loudness: Literal["keep", "match"] | float = "keep"
    """Integrated loudness of the delivered dub (EBU R128): `keep` as it is, `match` the source's first audio track,
    or a number of LUFS, such as -23. A plain gain where the peaks leave room for it, else compressed, and noted."""
    container: Literal["named", "auto"] = "named"
    """What happens when the named container cannot carry a track of the source: `named` leaves the track out and says
    so in the report, `auto` delivers a .mkv of the same name instead."""
    keep_original_audio: bool = True
    """Keep the source's audio tracks behind the dub."""
    timeout_s: float = Field(3600.0, gt=0)
    """Longest time one ffmpeg call of the final mux may take, in seconds."""

    @field_validator("loudness", mode="before")
    @classmethod
    def _check_loudness(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value in ("keep", "match") or (number and _TARGETS[0] <= value <= _TARGETS[1]):
            return value
        raise ValueError(f"must be keep, match or a number of LUFS from {_TARGETS[0]:g} to {_TARGETS[1]:g}")
