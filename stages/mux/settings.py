"""How the finished film is put together."""

from pydantic import Field

from stages.settings import Settings


class MuxSettings(Settings):
    """The dub's encoding and the final container."""

    audio_codec: str = Field("aac", pattern="^(aac|libopus|flac|alac|pcm_s16le)$")
    """Codec of the dub. It is encoded once, for the whole film."""
    audio_bitrate_kbps: int = Field(192, ge=32, le=1536)
    """Bit rate of the dub for aac and libopus."""
    keep_original_audio: bool = True
    """Keep the source's audio tracks behind the dub."""
    timeout_s: float = Field(3600.0, gt=0)
    """Longest time the final ffmpeg call may take, in seconds."""
