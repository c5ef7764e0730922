"""Which groups of pictures stand alone, and what keeps a film from being copied."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stages.errors import DubError
from stages.media.gops import Gops, find_gops
from stages.media.h264 import SPS, read_header, read_sps, set_id, unit_type
from stages.media.index import index_video
from stages.media.seam import Seam, plan_seam
from tests.clips import clip, ffmpeg, noise, steady, uneven

EVERY_12 = [(k, k + 12) for k in range(0, 48, 12)]
TS = {"time_base": Fraction(1, 90000), "mux": {"mpegts_copyts": "1"}}


def film(path: Path, params: str = "", count: int = 48, **how: object) -> Path:
    """48 frames, a keyframe every 12."""
    options = {"g": "12", "preset": "fast", "x264-params": f"scenecut=0:{params}".rstrip(":")}
    pts = how.pop("pts", steady(count, 90_000, 3600) if path.suffix == ".ts" else steady(count))
    more = TS if path.suffix == ".ts" else {}
    return clip(path, pts, options=options, **more, **how)  # type: ignore[arg-type]


def gops_of(path: Path) -> Gops:
    return find_gops(path, index_video(str(path)))


def ranges(path: Path) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in gops_of(path).ranges]


def seam_of(path: Path, encoder: str = "libx264", crf: float = 18) -> Seam:
    return plan_seam(path, index_video(str(path)), gops_of(path), encoder, crf)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.ts"])
@pytest.mark.parametrize("params", ["", "bframes=0", "bframes=8:ref=16", "b-pyramid=strict", "slices=4"])
def test_closed_groups_are_found_in_any_container(tmp_path: Path, name: str, params: str) -> None:
    made = gops_of(film(tmp_path / name, params))
    assert made.ranges.tolist() == [list(own) for own in EVERY_12]
    assert made.length_bytes == (0 if name == "a.ts" else 4)
    assert len(made.sets) == 2
    again = Gops.from_bytes(made.to_bytes())
    assert np.array_equal(again.ranges, made.ranges)
    assert (again.sets, again.length_bytes, again.problem) == (made.sets, made.length_bytes, "")


@pytest.mark.parametrize("params", ["open-gop=1:bframes=3", "intra-refresh=1"])
def test_a_keyframe_that_is_no_idr_picture_ends_nothing(tmp_path: Path, params: str) -> None:
    path = film(tmp_path / "a.mp4", params)
    assert index_video(str(path)).keyframes.tolist()[1:], "the container says they are keyframes"
    assert ranges(path) == [(0, 48)]


def test_one_picture_a_group(tmp_path: Path) -> None:
    assert ranges(film(tmp_path / "a.mp4", "keyint=1")) == [(k, k + 1) for k in range(48)]


def test_frames_at_odd_times(tmp_path: Path) -> None:
    assert ranges(film(tmp_path / "a.mp4", pts=uneven(48, 6401))) == EVERY_12


def test_a_group_of_which_an_edit_list_hides_a_part_is_left_out(tmp_path: Path) -> None:
    whole = film(tmp_path / "a.mp4", count=60)
    ffmpeg("-ss", "0.6", "-i", whole, "-c", "copy", tmp_path / "b.mp4")
    index = index_video(str(tmp_path / "b.mp4"))
    assert len(index) == 45, "frames 15 to 59 are shown"
    assert ranges(tmp_path / "b.mp4") == [(9, 21), (21, 33), (33, 45)]


@pytest.mark.parametrize(
    ("name", "how", "wanted"),
    [
        ("a.mp4", {"codec": "libx265"}, "hevc"),
        ("a.mp4", {"codec": "mpeg4"}, "mpeg4"),
        ("a.mp4", {"params": "interlaced=1"}, "interlaced"),
    ],
)
def test_what_cannot_be_copied_is_refused_by_its_reason(
    tmp_path: Path, name: str, how: dict[str, str], wanted: str
) -> None:
    params = how.pop("params", "")
    path = film(tmp_path / name, params) if params else clip(tmp_path / name, steady(12), **how)  # type: ignore[arg-type]
    with pytest.raises(DubError, match=wanted) as caught:
        seam_of(path)
    assert caught.value.code == "unsupported"
    assert "encode.render" in caught.value.message


def test_another_encoder_s_pictures_cannot_stand_beside(tmp_path: Path) -> None:
    with pytest.raises(DubError, match="libx265"):
        seam_of(film(tmp_path / "a.mp4"), "libx265")


def test_shape_and_colours_that_only_the_container_knows(tmp_path: Path) -> None:
    """Ours would say them in the stream, the source's would not: a player could show the two parts differently."""
    plain = film(tmp_path / "plain.mp4")
    for flags, wanted in ((["-aspect", "4:1"], "shape"), (["-color_primaries", "bt709"], "colours")):
        ffmpeg("-i", plain, "-c", "copy", *flags, tmp_path / "told.mkv")
        with pytest.raises(DubError, match=wanted):
            seam_of(tmp_path / "told.mkv")


def test_a_lossless_encoder_beside_a_profile_without_lossless_pictures(tmp_path: Path) -> None:
    """x264 does not open: every painted shard would fail."""
    plain, deep = film(tmp_path / "a.mp4"), clip(tmp_path / "deep.mp4", steady(24), pix_fmt="yuv420p10le")
    for crf in (0, 0.9):
        with pytest.raises(DubError, match=r"lossless.*encode\.render"):
            seam_of(plain, crf=crf)
    full = clip(tmp_path / "full.mp4", steady(24), options={"profile": "high444", "crf": "0"})
    for path, crf in ((plain, 1.0), (deep, 0.0), (full, 0.0)):
        options = seam_of(path, crf=crf).narrowed({"preset": "fast", "crf": str(crf)}, "fast")
        clip(tmp_path / "ours.mp4", steady(12), options=options, pix_fmt=index_video(str(path)).picture.pix_fmt)


def test_parameter_sets_that_change_under_one_id(tmp_path: Path) -> None:
    """Two encoders' recordings glued together: which set a picture means depends on where a player begins."""
    for number, params in enumerate(("cqm=flat", "cqm=jvt")):
        film(tmp_path / f"{number}.ts", params, pts=steady(48, 90_000 + 48 * 3600 * number, 3600))
    glued = tmp_path / "glued.ts"
    glued.write_bytes(b"".join((tmp_path / f"{number}.ts").read_bytes() for number in range(2)))
    with pytest.raises(DubError, match="parameter set 0 changes"):
        seam_of(glued)


def test_our_parameter_sets_have_an_id_of_their_own(tmp_path: Path) -> None:
    assert seam_of(film(tmp_path / "a.mp4")).sps_id == 1
    assert seam_of(film(tmp_path / "a.mp4", "sps-id=1")).sps_id == 2
    assert seam_of(film(tmp_path / "a.mp4", "sps-id=7")).sps_id == 1


@pytest.mark.parametrize(
    ("params", "profile", "wanted", "extra"),
    [
        ("", "high", ("high", 2, 4), {"ref=3"}),
        ("bframes=0:ref=1", "main", ("main", 0, 1), {"bframes=0", "ref=1"}),
        ("b-pyramid=none:ref=1", "high", ("high", 1, 2), {"b-pyramid=none", "ref=2"}),
        ("ref=16", "high", ("high", 2, 16), {"ref=3", "dpb-size=16"}),
        ("", "baseline", ("baseline", 0, 2), {"bframes=0", "ref=2"}),
        ("keyint=1", "high", ("high", 0, 1), {"bframes=0", "ref=1"}),
    ],
)
def test_ours_ask_no_more_of_a_decoder_than_the_source_s(
    tmp_path: Path, params: str, profile: str, wanted: tuple[str, int, int], extra: set[str]
) -> None:
    options = {"g": "12", "preset": "fast", "profile": profile, "x264-params": f"scenecut=0:{params}".rstrip(":")}
    path = clip(tmp_path / "a.mp4", steady(24), options=options, picture=noise)
    seam = seam_of(path)
    assert (seam.profile, seam.reorder, seam.buffered) == wanted
    narrowed = seam.narrowed({"preset": "medium", "x264-params": "stitchable=1"}, "medium")
    assert extra | {"stitchable=1"} <= set(narrowed["x264-params"].split(":"))
    ours = clip(tmp_path / "ours.mp4", steady(24), options=narrowed)
    told = []
    for made in (path, ours):
        with av.open(str(made)) as container:
            sets = read_header(bytes(container.streams.video[0].codec_context.extradata or b""))[1]
        told.append(read_sps(next(unit for unit in sets if unit_type(unit) == SPS)))
        assert len({set_id(unit) for unit in sets}) == 2
    source, own = told
    assert own.id == seam.sps_id != source.id
    assert own.profile <= source.profile
    assert (own.reorder or 0) <= (source.reorder or 0)
    assert own.buffered == max(1, source.buffered or 0)
