"""Films whose new mouths are restored by GFPGAN, with a small network that softens a little and adds its noise."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from stages.media.index import index_video
from stages.media.planes import even_region
from tests.films import BOX, decoded, film, same_pictures, speech
from tests.pipeline import models
from tests.pipeline.test_musetalk import row, run


def rows(**enhance: str | None) -> list[dict[str, object]]:
    """The same film once for each name, with that value of the column."""
    return [row(name, video="a.mp4", output=f"{name}.mp4", enhance=value) for name, value in enhance.items()]


def restoring(model_files: Path, generator: str = "mouthwarp", **enhance: object) -> dict[str, Any]:
    settings = models.settings(model_files, generator) | {"composite": {"blend": "feather"}, "run": {"workers": 1}}
    return settings | {"enhance": {**settings["enhance"], "model": "gfpgan", **enhance}}


@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=[pytest.mark.soak, pytest.mark.ray])])
def test_restored_mouths_leave_no_trace_of_shards_and_stay_in_their_place(
    tmp_path: Path,
    model_files: Path,
    executor: Literal["inline", "ray"],
    stages_on_ray: list[str],
    request: pytest.FixtureRequest,
) -> None:
    """Beside it a row that wants none of it."""
    if executor == "ray":
        request.getfixturevalue("ray_cluster")
    film(tmp_path / "a.mp4", frames=3, gop=2)
    speech(tmp_path / "dub.wav", 1.0)
    settings = restoring(model_files)
    folders = {name: tmp_path / name for name in ("whole", "parted")}
    for name, folder in folders.items():
        split = {"split": {"shard_s": 0.08 if name == "parted" else 600}}
        both = [one | {"output": str(folder / str(one["output"]))} for one in rows(sharp=None, plain="none")]
        how: Literal["inline", "ray"] = executor if name == "parted" else "inline"
        report = run(tmp_path, settings | split, *both, work=f"work {name}", executor=how)
        assert {f.id: f.code for f in report.all_films} == {"sharp": "ok", "plain": "ok"}, report.films
        assert ["enhance" in report.films[name].seconds for name in ("sharp", "plain")] == [True, False]
    assert report.films["sharp"].shards == 2
    assert ("enhance" in stages_on_ray) == (executor == "ray")
    for name in ("sharp", "plain"):
        assert same_pictures(folders["whole"] / f"{name}.mp4", folders["parted"] / f"{name}.mp4")

    picture = index_video(str(tmp_path / "a.mp4")).picture
    top, bottom, left, right = BOX
    x0, y0, x1, y1 = even_region((left, (top + bottom) // 2, right, bottom), 4, picture.width, picture.height)
    films = (
        decoded(path) for path in (tmp_path / "a.mp4", folders["parted"] / "sharp.mp4", folders["parted"] / "plain.mp4")
    )
    for source, sharp, plain in zip(*films, strict=True):
        for plane, (before, after, other) in enumerate(zip(source, sharp, plain, strict=True)):
            shift = int(plane > 0)
            inside = (slice(y0 >> shift, y1 >> shift), slice(x0 >> shift, x1 >> shift))
            assert np.mean(after[inside] != other[inside]) > 0.02
            kept = after.copy()
            kept[inside] = before[inside]
            assert np.array_equal(kept, before)


def test_a_strength_of_nothing_is_no_enhancement(tmp_path: Path, model_files: Path) -> None:
    """Exactly: the patches do not even grow to the restored ones' size."""
    film(tmp_path / "a.mp4", frames=3)
    speech(tmp_path / "dub.wav", 1.0)
    report = run(tmp_path, restoring(model_files, strength=0), *rows(sharp=None, plain="none"))
    assert [f.code for f in report.all_films] == ["ok", "ok"]
    assert same_pictures(tmp_path / "sharp.mp4", tmp_path / "plain.mp4")
    assert not same_pictures(tmp_path / "sharp.mp4", tmp_path / "a.mp4")


def test_a_restored_mouth_is_seen_under_the_parsed_mask(tmp_path: Path, model_files: Path) -> None:
    """MuseTalk, the parser and GFPGAN in one film: what the mask keeps is the source's, with GFPGAN and without."""
    film(tmp_path / "a.mp4", frames=2)
    speech(tmp_path / "dub.wav", 1.0)
    report = run(tmp_path, restoring(model_files, "musetalk"), *rows(sharp="gfpgan", plain="none"))
    assert [f.code for f in report.all_films] == ["ok", "ok"]
    films = (decoded(tmp_path / f"{name}.mp4")[1][0].astype(int) for name in ("a", "sharp", "plain"))
    source, sharp, plain = films
    seen = source != plain
    assert np.mean(sharp[seen] != plain[seen]) > 0.3
    rows_seen, columns_seen = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    outside = np.ones(seen.shape, bool)
    outside[rows_seen[0] - 2 : rows_seen[-1] + 3, columns_seen[0] - 2 : columns_seen[-1] + 3] = False
    assert np.array_equal(sharp[outside], source[outside])
    assert abs((sharp - plain)[seen].mean()) < 3  # the same colours
