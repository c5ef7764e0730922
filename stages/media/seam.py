"""Whether packets of a source and of our encoder can stand in one H.264 stream, and how ours must be made then.

A film of which parts are copied has two encoders' pictures behind one header. What holds for the source's header must
hold for ours too (profile, order of pictures, buffered frames), and neither may speak with the other's parameter sets.
"""

from typing import Literal

import numpy as np
from av.video.reformatter import ColorRange

from stages.errors import DubError
from stages.media.gops import Gops
from stages.media.h264 import PPS, SPS, Sps, read_sps, set_id, unit_type
from stages.media.index import Picture, VideoIndex
from stages.media.planes import range_of
from stages.media.ranges import MediaSource
from stages.settings import Settings

VERSION = 1
"""Of smart rendering: what is copied, and how the rest is made."""
Profile = Literal["baseline", "main", "high", "high10", "high422", "high444"]
_PROFILES: dict[int, Profile] = {
    66: "baseline",
    77: "main",
    100: "high",
    110: "high10",
    122: "high422",
    244: "high444",
}  # profile_idc -> x264's name
_KNOWS_LOSSLESS = 244  # High 4:4:4 Predictive
_QP_A_BIT = 6  # quantizers that each bit above 8 adds below 0
_HIGHEST_ID = 31  # of sequence parameter sets
# x264's reference frames by preset (its x264_param_default_preset).
_REFS = {"faster": 2, "fast": 2, "medium": 3, "slow": 5, "slower": 8, "veryslow": 16}


class Seam(Settings):
    """What segments must be encoded like to stand beside a source's own packets."""

    sps_id: int
    """Id of our parameter sets, none of the source's: even a decoder that keeps all sets it ever saw cannot take one
    for the other (reference media.md 3.1: silent corruption)."""
    profile: Profile
    """The source's: ours may use less, not more."""
    reorder: int
    """Frames decoded before an earlier shown one: a decoder that waits for the source's order must not wait less."""
    buffered: int
    """Frames a decoder holds. Where it changes, one may drop pictures it has not shown yet (H.264, C.4.4)."""

    def narrowed(self, options: dict[str, str], preset: str) -> dict[str, str]:
        """libx264's options, held to what may stand beside the source. `preset`: x264's, among the options."""
        params = [f"sps-id={self.sps_id}", f"dpb-size={self.buffered}"]
        params.append(f"ref={min(_REFS.get(preset, 1), self.buffered)}")
        # Without B-frames one frame is held at least, with them two, with the pyramid of them four.
        if self.reorder == 0 or self.buffered < 2:
            params.append("bframes=0")
        elif self.reorder == 1 or self.buffered < 4:
            params.append("b-pyramid=none")
        given = [options["x264-params"]] if "x264-params" in options else []
        return {**options, "profile": self.profile, "x264-params": ":".join([*given, *params])}


def plan_seam(source: MediaSource, index: VideoIndex, gops: Gops, encoder: str, crf: float) -> Seam:
    """How the encoded part of a film must be made so that the rest can be copied.

    `encoder`: `stages.media.encode.encoder_for`; `crf`: `encode.crf`. Raises DubError `unsupported` with the reason
    when nothing of the film can be copied.
    """
    problem = copy_problem(index.picture, gops, encoder, crf)
    if problem:
        raise DubError(
            "unsupported", f"{source}: cannot be rendered smart: {problem}; set encode.render to auto or full"
        )
    told = _told(gops)
    buffered = [sps.refs if sps.buffered is None else sps.buffered for sps in told]
    orders = [_reordered(index) if sps.reorder is None else sps.reorder for sps in told]
    return Seam(
        sps_id=_free_ids(gops)[0],
        profile=min((_PROFILES[sps.profile] for sps in told), key=list(_PROFILES.values()).index),
        reorder=min(orders),
        buffered=max(1, min(16, *buffered)),
    )


def _told(gops: Gops) -> list[Sps]:
    return [read_sps(unit) for unit in gops.sets if unit_type(unit) == SPS]


def _free_ids(gops: Gops) -> list[int]:
    """Ids for parameter sets that the source does not use."""
    taken = {set_id(unit)[1] for unit in gops.sets}
    return [number for number in range(1, _HIGHEST_ID + 1) if number not in taken]


def copy_problem(picture: Picture, gops: Gops, encoder: str, crf: float) -> str:
    """Why no packet of a film may stand beside our own; empty when it may."""
    if gops.problem:
        return gops.problem
    told = _told(gops)
    if encoder != "libx264":
        return f"it would be encoded by {encoder}, and copied frames are H.264"
    if not told or not any(unit_type(unit) == PPS for unit in gops.sets):
        return "it has no parameter sets"
    if not len(gops.ranges):
        return "none of its groups of pictures stands alone"
    if not _free_ids(gops):
        return "its parameter sets use all ids there are"
    for sps in told:
        if sps.profile not in _PROFILES:
            return f"x264 does not write H.264 of profile {sps.profile}"
        if not sps.frames_only:
            return "it may hold interlaced pictures"
        if sps.bits[0] != sps.bits[1]:
            return "its luma and chroma have different depths"
        if sps.profile != _KNOWS_LOSSLESS and int(crf + _QP_A_BIT * (sps.bits[0] - 8)) <= 0:  # as x264 counts
            return f"at encode.crf {crf:g} x264 is lossless, which the source's profile does not know"
        if _shape(sps.sar) != _shape(picture.sar):
            return "its shape of pixels is told by the container only"
        if (bool(sps.full_range), sps.primaries, sps.transfer, sps.matrix) != (
            range_of(picture.color_range, picture.pix_fmt) == ColorRange.JPEG,
            picture.primaries,
            picture.transfer,
            picture.matrix,
        ):
            return "its colours are told by the container only"
    return ""


def _shape(sar: tuple[int, int]) -> tuple[int, int]:
    """Pixels of no told shape are square."""
    return sar if sar[0] and sar[1] else (1, 1)


def _reordered(index: VideoIndex) -> int:
    """How many frames are decoded before an earlier shown one, as the film is coded."""
    shown = np.argsort(index.coded)  # frame numbers in coded order
    return int(np.max(np.arange(len(shown)) - shown, initial=0))
