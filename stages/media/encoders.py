"""The encoders: what each takes, where its pictures can be delivered, and its words for one quality and one effort."""

from dataclasses import dataclass
from typing import Final

_X264_CRF_MOST: Final = 51
_VPX_CRF_MOST: Final = 63
_SVT_FPS_MOST: Final = 240
"""SVT-AV1 refuses to open for more; it only plans its bit rate by it."""
# The shortest side that each encodes whatever the other is, tried one by one. Below, ffv1 and x265 do not open, and
# SVT-AV1 waits for itself for ever where the other side is longer than 64 px.
_FFV1_LEAST_PX: Final = 10
_X265_LEAST_PX: Final = 16
_SVT_LEAST_PX: Final = 32

# x264's presets in the words of the others. libvpx's `good` deadline knows speeds 0 to 5, and its guide
# (trac.ffmpeg.org/wiki/Encode/VP9) has 2 for everyday use; SVT-AV1 goes to 13, with 4 to 6 for patience and 10 as
# its own default (its Docs/Ffmpeg.md).
_VPX_SPEED: Final = {
    "ultrafast": 5,
    "superfast": 5,
    "veryfast": 4,
    "faster": 4,
    "fast": 3,
    "medium": 2,
    "slow": 1,
    "slower": 1,
    "veryslow": 0,
}
_SVT_PRESET: Final = {
    "ultrafast": 12,
    "superfast": 11,
    "veryfast": 10,
    "faster": 9,
    "fast": 8,
    "medium": 6,
    "slow": 5,
    "slower": 4,
    "veryslow": 3,
}


@dataclass(frozen=True)
class Encoder:
    """One encoder of FFmpeg's."""

    codec: str
    """What it writes, by FFmpeg's canonical name."""
    suffixes: frozenset[str]
    """The deliveries that can carry it."""
    kept_in: frozenset[str]
    """The deliveries in which a source of this codec keeps it: what players of that container expect."""
    even: bool = False
    """Refuses odd sizes where chroma is subsampled."""
    least_px: int = 1
    """Smallest width and height."""
    most_fps: int | None = None
    """Highest rate it can be told."""
    full_range: bool = True
    """Its stream or its segment's header can say full range."""
    lone_tags: bool = True
    """Matrix, primaries and transfer are kept one by one: MP4's header alone holds all three or none (measured)."""


_ALL: Final = frozenset({".mp4", ".mov", ".mkv"})
_NEW: Final = frozenset({".mp4", ".mkv", ".webm"})
_WEBM: Final = frozenset({".webm"})
ENCODERS: Final = {
    "libx264": Encoder("h264", _ALL, _ALL, even=True),
    "libx265": Encoder("hevc", _ALL, _ALL, even=True, least_px=_X265_LEAST_PX),
    "libvpx-vp9": Encoder("vp9", _NEW, _WEBM),
    "libsvtav1": Encoder("av1", _NEW, _WEBM, least_px=_SVT_LEAST_PX, most_fps=_SVT_FPS_MOST),
    "prores_ks": Encoder("prores", frozenset({".mov", ".mkv"}), frozenset({".mov"}), full_range=False, lone_tags=False),
    "ffv1": Encoder(
        "ffv1", frozenset({".mp4", ".mkv"}), frozenset({".mp4", ".mkv"}), least_px=_FFV1_LEAST_PX, lone_tags=False
    ),
}


def encoder_options(name: str, crf: float, preset: str, threads: int) -> dict[str, str]:
    """FFmpeg's options of an encoder for x264's `crf` and `preset`; each makes closed groups of pictures.

    VP9 and AV1 count quantizers to 63 where x264 counts to 51, and the scales run alike: 19 of x264 is said to be 23
    of AV1 (trac.ffmpeg.org/wiki/Encode/AV1), and at 18 a moving, noisy clip came out with 42.0 dB by x264, 43.0 by
    x265, 42.6 by VP9 and by AV1 (288 lines, measured). ffv1 is lossless, ProRes has the bit rate of its profile.
    """
    scaled = round(crf * _VPX_CRF_MOST / _X264_CRF_MOST)
    match name:
        case "libx264":
            return {"crf": str(crf), "preset": preset, "x264-params": "stitchable=1"}
        case "libx265":
            # x265 opens GOPs by default; a segment must stand alone (media.md 3.2).
            pools = f"pools={threads}:frame-threads={threads}"
            return {"preset": preset, "x265-params": f"crf={crf}:no-open-gop=1:{pools}:log-level=error"}
        case "libvpx-vp9":
            # Without b=0 the quality is bounded by a bit rate. Alt-refs are hidden frames, packed with a shown one.
            speed = str(_VPX_SPEED[preset])
            return {"crf": str(scaled), "b": "0", "deadline": "good", "cpu-used": speed, "row-mt": "0"}
        case "libsvtav1":
            # Keyframes of type 2 close the group of pictures. `lp` is SVT's number for threads.
            params = f"lp={min(threads, 6)}:irefresh-type=2"
            return {"crf": str(max(1, scaled)), "preset": str(_SVT_PRESET[preset]), "svtav1-params": params}
        case "prores_ks":
            return {"vendor": "apl0"}  # Apple's own players and editors warn of others'
        case _:
            return {"level": "3", "slicecrc": "1"}
