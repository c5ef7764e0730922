"""Generators of other packages: the example of docs/generators.md, installed as a package is, dubs a film."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline import Config, dub
from pipeline.config import load_config
from pipeline.manifest import read_manifest
from pipeline.overrides import ConfigError
from stages.errors import DubError
from stages.lips import generators
from stages.lips.settings import LipsSettings
from stages.weights import Weights
from tests.films import BOX, decoded, film, manifest, speech

DOC = Path(__file__).parents[2] / "docs/generators.md"
LOSSLESS = {"codec": "ffv1"}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages, among them the documented one; `broken` is one that cannot be made."""
    folder = tmp_path / "site"
    information = folder / "blush-1.0.dist-info"
    information.mkdir(parents=True)
    code = re.search(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)
    points = re.search(r'```toml\n\[project\.entry-points\."(.*?)"\]\nblush = "(.*?)"', DOC.read_text())
    assert code is not None
    assert points is not None
    (folder / "blush.py").write_text(code[1])
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: blush\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        f"[{points[1]}]\nblush = {points[2]}\nbroken = blush:missing\nwav2lip = {points[2]}\n"
    )
    monkeypatch.syspath_prepend(folder)
    generators._brought.cache_clear()
    yield folder
    sys.modules.pop("blush", None)
    generators._brought.cache_clear()


def row(folder: Path, **more: object) -> dict[str, object]:
    film(folder / "a.mp4", frames=50)
    speech(folder / "dub.wav", 2.0)
    return {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "out.mp4", "box": BOX, **more}


@pytest.mark.usefixtures("site")
def test_the_documented_generator_paints_what_its_options_say(tmp_path: Path) -> None:
    rows = manifest(tmp_path / "films.jsonl", row(tmp_path))
    reds = {}
    for red in (0, 255):
        config = Config.model_validate(
            {
                "lips": {"generator": "blush", "plugins": {"blush": {"red": red}}},
                "encode": LOSSLESS,
                "composite": {"blend": "feather"},
                "run": {"overwrite": True},
            }
        )
        report = dub(str(rows), config, str(tmp_path / "work"))
        assert report.films["a"].code == "ok", report.films["a"].message
        top, bottom, left, right = BOX
        mouth = slice((top + 3 * bottom) // 4 // 2, bottom // 2), slice(left // 2, right // 2)
        reds[red] = np.array([cr[mouth].mean() for _, _, cr in decoded(tmp_path / "out.mp4")])
    # Cr is redness: the same frames, and other options, of the same film in the same work folder.
    assert (reds[255] - reds[0]).max() > 10
    assert (reds[255] >= reds[0]).all()


@pytest.mark.usefixtures("site")
def test_a_row_may_name_a_brought_generator_and_own_ones_are_not_replaced(tmp_path: Path) -> None:
    read = read_manifest(str(manifest(tmp_path / "films.jsonl", row(tmp_path, generator="blush"))))
    assert not read.problems
    assert read.films[0].generator == "blush"
    assert type(generators.spec_of("wav2lip", LipsSettings())).__name__ == "Wav2LipSpec"


def test_unknown_generators_are_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean wav2lip"):
        load_config(None, ["lips.generator=wav2lop"])
    read = read_manifest(str(manifest(tmp_path / "films.jsonl", row(tmp_path, generator="blush"))))
    assert "generator must be mouthwarp or wav2lip or musetalk" in str(read.problems[0])


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [("broken", {}, "AttributeError"), ("blush", {"red": "dark"}, "ValueError: invalid literal")],
)
def test_a_package_that_fails_is_named(name: str, options: dict[str, object], reason: str) -> None:
    with pytest.raises(DubError, match=f"generator '{name}'.*{reason}") as caught:
        generators.spec_of(name, LipsSettings(plugins={name: options}))
    assert caught.value.code == "unsupported"


def test_what_a_worker_does_not_have_is_said_so() -> None:
    with pytest.raises(DubError, match="install its package on every machine"):
        generators.spec_of("blush", LipsSettings())


@pytest.mark.usefixtures("site")
def test_patches_of_another_shape_fail_the_shard_and_the_film_ships(tmp_path: Path, site: Path) -> None:
    code = (site / "blush.py").read_text()
    (site / "blush.py").write_text(code.replace("return patches", "return patches[:, :64]"))
    rows = manifest(tmp_path / "films.jsonl", row(tmp_path))
    config = Config.model_validate({"lips": {"generator": "blush"}, "encode": LOSSLESS})
    report = dub(str(rows), config, str(tmp_path / "work"))
    assert report.films["a"].code == "ok_passthrough"
    assert "blush gave back uint8" in str(report.films["a"].passed_through)


def test_keys_tell_options_apart(site: Path) -> None:
    keys = {
        generators.spec_of("blush", LipsSettings(plugins={"blush": {"red": red}})).key(Weights(str(site)))
        for red in (1, 2)
    }
    assert len(keys) == 2
