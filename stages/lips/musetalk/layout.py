"""Where MuseTalk's files are in a folder of the official layout (musetalk.md 2). Costs no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stages.errors import DubError
from stages.lips.musetalk.settings import Version

_UNET: Final = {"1.0": ("musetalk", "pytorch_model.bin"), "1.5": ("musetalkV15", "unet.pth")}
_VAE: Final = ("sd-vae", "sd-vae-ft-mse")  # the second is its name in the legacy layout
_VAE_FILE: Final = "diffusion_pytorch_model.bin"
NAMES: Final[dict[Version, tuple[str, ...]]] = {
    "1.0": ("musetalk-1.0-config", "musetalk-1.0-unet", "sd-vae-config", "sd-vae"),
    "1.5": ("musetalk-1.5-config", "musetalk-1.5-unet", "sd-vae-config", "sd-vae"),
}
"""The same files as `dubline weights` calls them."""


@dataclass(frozen=True)
class Layout:
    """The files of one version."""

    unet_config: Path
    unet: Path
    vae_config: Path
    vae: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them: what the generator's pixels depend on."""
        return self.unet_config, self.unet, self.vae_config, self.vae


def find(folder: Path, version: Version) -> Layout:
    """The files in `folder`: the official ones, and where one is not there a `.safetensors` of the same name.

    In this order, because in the weights folder it is the official ones that are checked and that keys tell apart.
    Raises DubError `weights_missing`, naming the file that is not there and the command that fetches it.
    """
    name, file = _UNET[version]
    vae = next((folder / name for name in _VAE if (folder / name).is_dir()), folder / _VAE[0])
    unet_config = _config(folder / name / "musetalk.json", version)
    unet = _weights(folder / name / file, version)
    return Layout(unet_config, unet, _config(vae / "config.json", version), _weights(vae / _VAE_FILE, version))


def advice(version: Version) -> str:
    """What every error about the files ends with."""
    return f"Run «dubline weights fetch musetalk-{version}», or set lips.musetalk.weights to a folder that has it"


def _config(path: Path, version: Version) -> Path:
    if not path.is_file():
        raise _absent(path, version)
    return path


def _weights(path: Path, version: Version) -> Path:
    for candidate in (path, path.with_suffix(".safetensors")):
        if candidate.is_file():
            return candidate
    raise _absent(path, version)


def _absent(path: Path, version: Version) -> DubError:
    return DubError("weights_missing", f"MuseTalk {version} needs {path}: there is no such file. {advice(version)}")
