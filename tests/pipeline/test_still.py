"""A picture as `video`: a film of the dub's length, its mouth moving."""

import io
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import Config, dub
from pipeline.plan import plan_films
from pipeline.report import FilmReport
from stages.arrays import U8
from stages.errors import DubError
from stages.media.decode import first_frame
from stages.media.index import index_video
from stages.media.picture import Shrinker
from stages.media.settings import MediaLimits
from stages.media.still import is_still, write_still
from tests.films import BOX, decoded, manifest, portrait, same_pictures, speech

RATE = 25.0


def rgb() -> U8:
    return np.ascontiguousarray(portrait(0)[:, :, ::-1])


def dubbed(folder: Path, video: str, work: str = "work", output: str = "out.mp4", **settings: object) -> FilmReport:
    row = {"id": "a", "video": video, "audio": "dub.wav", "output": output}
    config = Config.model_validate({"encode": {"codec": "ffv1"}, **settings})
    return dub(str(manifest(folder / "films.jsonl", row)), config, str(folder / work)).all_films[0]


def seen(path: Path, folder: Path, limits: MediaLimits | None = None) -> U8:
    """The one frame that a picture becomes, uint8 [h, w, 3] RGB."""
    target = folder / "still.mp4"
    write_still(path, target, RATE, limits or MediaLimits())
    index = index_video(str(target))
    assert len(index) == 1
    assert index.duration[0] * index.time_base == Fraction(1, 25)
    picture = index.picture
    assert (picture.matrix, picture.primaries, picture.transfer, picture.color_range) == (1, 1, 1, 1)
    assert picture.pix_fmt == "yuv420p"
    return Shrinker(None).bgr(first_frame(target, index))[:, :, ::-1]


def near(one: U8, other: U8, codes: float = 3.0) -> bool:
    return one.shape == other.shape and float(np.abs(one.astype(float) - other).mean()) < codes


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".webp", ".bmp", ".tiff", ".tif"])
def test_every_kind_of_picture_is_a_film_of_the_dub_s_length(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(rgb()).save(tmp_path / f"a{suffix}", quality=95)
    assert near(seen(tmp_path / f"a{suffix}", tmp_path), rgb())


def test_a_portrait_speaks_for_as_long_as_the_dub(tmp_path: Path) -> None:
    """Detected once; one shard or many, the same film; the rest of the picture stands still."""
    Image.fromarray(rgb()).save(tmp_path / "a.png")
    speech(tmp_path / "dub.wav", 1.9)
    report = dubbed(tmp_path, "a.png", split={"shard_s": 600})
    assert report.code == "ok", report.message
    assert (report.frames, report.painted, report.cells, report.faces, report.shards) == (48, 48, 1, 1, 1)
    index = index_video(str(tmp_path / "out.mp4"))
    assert len(index) == 48
    assert index.end_pts * index.time_base == Fraction(19, 10)
    assert index.picture.matrix == 1
    films = decoded(tmp_path / "out.mp4")
    assert len({planes[0][:40].tobytes() for planes in films}) == 1
    assert len({planes[0].tobytes() for planes in films}) > 15
    again = dubbed(tmp_path, "a.png", "other", "many.mp4", split={"shard_s": 0.3})
    assert again.code == "ok", again.message
    assert again.shards > 3
    assert same_pictures(tmp_path / "out.mp4", tmp_path / "many.mp4")


def test_a_box_in_the_picture_s_own_pixels(tmp_path: Path) -> None:
    Image.fromarray(rgb()[:-1, :-1]).save(tmp_path / "a.png")
    speech(tmp_path / "dub.wav", 0.4)
    row = {"id": "a", "video": "a.png", "audio": "dub.wav", "output": "out.mp4", "box": BOX, "audio_longer": "trim"}
    config = Config.model_validate({"media": {"still_rate": 50}})
    report = dub(str(manifest(tmp_path / "films.jsonl", row)), config, str(tmp_path / "work")).all_films[0]
    assert (report.code, report.frames) == ("ok", 20)
    made = index_video(str(tmp_path / "out.mp4")).picture
    assert (made.codec, made.width, made.height) == ("h264", 320, 240)


def test_another_picture_under_the_same_name_is_another_film(tmp_path: Path) -> None:
    speech(tmp_path / "dub.wav", 0.2)
    for number, picture in enumerate((rgb(), np.ascontiguousarray(rgb()[:, ::-1]))):
        Image.fromarray(picture).save(tmp_path / "a.png")
        assert dubbed(tmp_path, "a.png", output=f"{number}.mp4").code in ("ok", "no_face")
    assert not same_pictures(tmp_path / "0.mp4", tmp_path / "1.mp4")


def test_a_picture_lies_upright_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    Image.fromarray(np.rot90(rgb()).copy()).save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert near(seen(tmp_path / "a.jpg", tmp_path), rgb())


def test_odd_sides_get_their_last_line_twice(tmp_path: Path) -> None:
    Image.fromarray(rgb()[:51, :33]).save(tmp_path / "a.png")
    made = seen(tmp_path / "a.png", tmp_path)
    assert made.shape == (52, 34, 3)
    assert near(made[:51, :33], rgb()[:51, :33], 4.0)
    Image.fromarray(rgb()[:1, :1]).save(tmp_path / "b.png")
    assert seen(tmp_path / "b.png", tmp_path).shape == (2, 2, 3)


def test_what_is_transparent_is_black(tmp_path: Path) -> None:
    alpha = np.full((240, 320, 1), 255, np.uint8)
    alpha[:, :160] = 0
    Image.fromarray(np.concatenate([rgb(), alpha], axis=2)).save(tmp_path / "a.png")
    made = seen(tmp_path / "a.png", tmp_path)
    assert made[:, :150].max() < 6
    assert near(made[:, 170:], rgb()[:, 170:])


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "LA", "I;16"])
def test_other_kinds_of_samples(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(rgb()).convert("L")
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(grey, np.uint16) * 257)
        assert picture.mode == mode
    else:
        picture = (Image.fromarray(rgb()) if mode in ("P", "CMYK") else grey).convert(mode)
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    picture.save(path)
    wanted = picture.convert("RGB") if mode in ("1", "P") else Image.fromarray(rgb()) if mode == "CMYK" else grey
    assert near(seen(path, tmp_path), np.asarray(wanted.convert("RGB")), 24.0 if mode == "P" else 8.0)


def refused(path: Path, folder: Path, limits: MediaLimits | None = None) -> str:
    with pytest.raises(DubError) as caught:
        write_still(path, folder / "out.mp4", RATE, limits or MediaLimits())
    assert not (folder / "out.mp4").exists()
    assert path.name in caught.value.message
    return f"{caught.value.code}: {caught.value.message}"


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is this large, and holds next to nothing."""
    small = io.BytesIO()
    Image.new("RGB", (1, 1)).save(small, "PNG")
    data = bytearray(small.getvalue())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("size", [(20_000, 15_000), (2_000_000_000, 2), (60_000, 60_000)])
def test_a_picture_over_the_cap_is_refused_before_it_is_decoded(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "a.png").write_bytes(png_of(*size))
    said = refused(tmp_path / "a.png", tmp_path)
    assert said.startswith("unsupported: ")
    assert "media.limits.max_pixels" in said


def test_the_cap_is_the_setting_s(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    assert seen(tmp_path / "a.png", tmp_path, MediaLimits(max_pixels=64 * 48)).shape == (48, 64, 3)
    assert refused(tmp_path / "a.png", tmp_path, MediaLimits(max_pixels=64 * 48 - 1)).startswith("unsupported: ")


def test_what_is_no_picture_is_called_so(tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.fromarray(rgb()).save(whole, "PNG")
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/tmp/x) (w) file\n"
    for data in (b"", b"no picture", svg, eps, whole.getvalue()[:3000], png_of(3, 3)):
        (tmp_path / "a.png").write_bytes(data)
        assert refused(tmp_path / "a.png", tmp_path).startswith("decode_error: ")


def test_an_animation_is_no_picture(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (32, 32), (k * 40, 0, 0)) for k in range(4)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    assert "4 pictures in one file" in refused(tmp_path / "a.webp", tmp_path)


def test_names_of_pictures() -> None:
    assert all(is_still(f"s3://bucket/me{suffix}") for suffix in (".png", ".JPG", ".jpeg", ".webp", ".bmp", ".tiff"))
    assert is_still("https://a/me.png?signature=x.mp4")
    assert not any(is_still(name) for name in ("/a/me.mp4", "/a.png/me.mp4", "/a/png", "/a/me.gif", "/a/me.svg"))


def test_a_bad_picture_is_its_row_s_problem_in_plan_and_run(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    speech(tmp_path / "dub.wav", 0.2)
    assert dubbed(tmp_path, "a.png").code == "decode_error"
    assert dubbed(tmp_path, "b.png").code == "not_found"
    Image.fromarray(rgb()).save(tmp_path / "c.png")
    rows = [{"id": n, "video": f"{n}.png", "audio": "dub.wav", "output": f"{n}.mp4"} for n in "abc"]
    planned = list(plan_films(str(manifest(tmp_path / "films.jsonl", *rows)), Config(), str(tmp_path / "work")))
    assert [p.problem.split(":")[0] for p in planned] == ["decode_error", "not_found", ""]
    assert (planned[2].frames, planned[2].cells) == (5, 1)
    assert planned[2].length_s == pytest.approx(0.2)
    assert not list(tmp_path.rglob("still*")) or not (tmp_path / "still.mp4").exists()
