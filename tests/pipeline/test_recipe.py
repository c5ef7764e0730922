"""What keys of redrawn faces depend on, and how many faces fit a row."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import recipe as recipes
from pipeline.config import Config
from pipeline.recipe import Recipe, recipe_of
from stages.crops.types import CONTEXT_PX, CropWish, FaceStack, HalfFace
from stages.enhance.enhance import PATCH_PX
from stages.lips.mouthwarp import MouthWarpSpec
from stages.lips.musetalk import layout
from stages.lips.parsing.masks import MASK_PX
from stages.lips.settings import LipsSettings
from stages.lips.types import MaskMode
from stages.speech.whisper import files
from stages.weights import Weights


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Files where the networks look for theirs; keys ask for content, not for sense."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("musetalkV15/musetalk.json", "musetalkV15/unet.pth", "sd-vae/config.json", "w.pth", "p.pth", "e.pth"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    (folder / "sd-vae/diffusion_pytorch_model.bin").write_text("vae")
    (folder / "whisper").mkdir()
    for file in files.find(folder / "whisper"):
        file.write_text(file.name)
    assert len(layout.find(folder, "1.5").files) == 4
    return folder


def key(folder: Path, generator: str, device: str = "cpu", **wav2lip: object) -> str:
    config = Config.model_validate(
        {
            "speech": {"whisper": {"weights": str(folder)}},
            "lips": {
                "device": device,
                "wav2lip": {"weights": str(folder / "w.pth"), **wav2lip},
                "musetalk": {"weights": str(folder)},
                "parsing": {"weights": str(folder / "p.pth"), "mask": "jaw"},
            },
            "enhance": {"weights": str(folder / "e.pth")},
        }
    )
    return recipe_of(generator, "gfpgan", config).key(config, Weights())


@pytest.mark.parametrize("generator", ["wav2lip", "musetalk"])
def test_weights_at_another_place_are_the_same_weights(generator: str, models: Path, tmp_path: Path) -> None:
    before = key(models, generator)
    shutil.copytree(models, tmp_path / "elsewhere")
    assert key(tmp_path / "elsewhere", generator) == before
    assert key(tmp_path / "elsewhere", generator, "cuda") != before
    (tmp_path / "elsewhere/e.pth").write_text("another file")
    assert key(tmp_path / "elsewhere", generator) != before


def test_onnx_draws_on_the_cpu_whatever_the_device_of_the_others(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = [LipsSettings.model_validate({"device": d, "wav2lip": {"mode": "onnx"}}) for d in ("cpu", "cuda")]
    monkeypatch.setattr(Weights, "sha256", lambda *_: "0")
    assert len({recipe_of("wav2lip", "none", Config(lips=lips)).spec.key(Weights()) for lips in config}) == 1


class Other(MouthWarpSpec):
    """A generator as other packages bring them: its key holds its version, not what is cut out for it."""

    def __init__(self, crop: CropWish, shift_s: float) -> None:
        super().__init__(LipsSettings().mouthwarp)
        self.crop, self.speech_shift_s = crop, shift_s  # type: ignore[misc]


def test_what_a_brought_generator_wants_cut_out_and_when_it_hears_is_in_the_key() -> None:
    crops = [CropWish(128), CropWish(256), CropWish(256, HalfFace()), CropWish(256, HalfFace(margin=0.1))]
    specs = [*(Other(crop, 0.0) for crop in crops), Other(CropWish(128), 0.1)]
    keys = {Recipe("other", spec, "landmarks", enhanced=False).key(Config(), Weights()) for spec in specs}
    assert len({spec.key(Weights()) for spec in specs}) == 1
    assert len(keys) == len(specs)


@pytest.mark.parametrize("enhance", ["none", "gfpgan"])
@pytest.mark.parametrize("mask", ["landmarks", "jaw"])
@pytest.mark.parametrize("generator", ["mouthwarp", "wav2lip", "musetalk"])
def test_the_longest_shard_fits_a_row_on_the_whole_way(
    generator: str, mask: MaskMode, enhance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "MAX_PAYLOAD", 8 << 20)  # the same sums with less memory
    config = Config.model_validate({"lips": {"parsing": {"mask": mask}}})
    recipe = recipe_of(generator, enhance, config)
    n = recipe.longest_shard
    assert n > 4

    def blank(*shape: int, kind: Any = np.uint8) -> Any:
        return np.zeros((n, *shape), kind)

    px = recipe.crop.px
    common = {
        "frames": np.arange(n),
        "boxes": blank(4, kind=np.int32),
        "landmarks": blank(68, 2, kind=np.float32),
        "weight": blank(kind=np.float32),
    }
    around = {"context": blank(CONTEXT_PX, CONTEXT_PX, 3), "context_boxes": blank(4, kind=np.int32)}
    masks = {"masks": blank(MASK_PX, MASK_PX)} if recipe.parsed else {}
    stacks = [
        FaceStack(**common, pixels=blank(px, px, 3), **(around if recipe.crop.context else {})),
        FaceStack(**common, pixels=blank(px, px, 3), **masks, **(around if recipe.enhanced else {})),
        FaceStack(**common, pixels=blank(*((PATCH_PX,) * 2 if recipe.enhanced else (px, px)), 3), **masks),
    ]
    assert max(len(stack.to_bytes()) for stack in stacks) <= (8 << 20) + 2000  # names of the arrays
