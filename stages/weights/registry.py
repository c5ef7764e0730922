"""Every file of weights that dubline knows by name: where it comes from, what it must be, what its licence says.

Sizes and digests are as public model pages and installers quote them, each by at least one; unknown is None.
"""

import difflib
import re
from dataclasses import dataclass
from typing import Final

from stages.errors import DubError

_FILE: Final = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*", re.ASCII)
"""Below the folder, no part of it hidden: `..` is not in it, and the names of unfinished downloads are free."""


@dataclass(frozen=True)
class Weight:
    """One file of weights that dubline knows by name. Raises ValueError for a file that is not inside the folder."""

    name: str
    file: str
    """Path below the weights folder, as in the folder of the project that publishes it."""
    url: str | None
    """Where its authors publish it; None: nowhere that a program can fetch from, see `note`."""
    sha256: str | None
    size: int | None
    """Bytes."""
    licence: str
    commercial: bool | None = None
    """Whether its licence allows commercial use; None: it does not say, or not clearly."""
    note: str = ""

    def __post_init__(self) -> None:
        if not _FILE.fullmatch(self.file):
            raise ValueError(f"{self.name}: {self.file!r} is not a path below the weights folder")

    @property
    def commercial_use(self) -> str:
        """`commercial` in a word, for people."""
        return "unclear" if self.commercial is None else "yes" if self.commercial else "no"


_WAV2LIP_LICENCE: Final = "personal, research and non-commercial use only (trained on LRS2)"  # wav2lip.md 0
_WAV2LIP_NOTE: Final = (
    "Its authors no longer link this file. Where you have a copy, put it into the weights folder, or run "
    "`dubline weights fetch {name} --url URL`: size and sha256 are checked."
)
_FAN_URL: Final = "https://www.adrianbulat.com/downloads/python-fan"  # face_alignment 1.5, api.py
_FAN_LICENCE: Final = "not stated (published with face-alignment, whose code is BSD-3-Clause)"

# Revisions of Hugging Face repositories are pinned, so that an upload there changes nothing here. They, and the sizes
# and digests of the files in them, are those that several public installers of MuseTalk 1.5 and DWPose pin alike.
_HF: Final = "https://huggingface.co"
_MUSETALK_URL: Final = f"{_HF}/TMElyralab/MuseTalk/resolve/2bcb936e2fddb4d86db4c62fd45b387d0c061571"
_VAE_URL: Final = f"{_HF}/stabilityai/sd-vae-ft-mse/resolve/31f26fdeee1355a5c34592e401dd41e45d25a493"
_WHISPER_URL: Final = f"{_HF}/openai/whisper-tiny/resolve/169d4a4341b33bc18d8881c4b69c2e104e1cc0af"
_PARSER_URL: Final = f"{_HF}/ManyOtherFunctions/face-parse-bisent/resolve/0073b233a5a3c4b1377d4dbf49245017938a72b5"
_DWPOSE_URL: Final = f"{_HF}/yzd-v/DWPose/resolve/1a7144101628d69ee7a3768d1ee3a094070dc388"
_GFPGAN_URL: Final = "https://github.com/TencentARC/GFPGAN/releases/download/v1.3.0"

# musetalk.md 2. OpenRAIL-M allows commercial use, too.
_MUSETALK_LICENCE: Final = "any purpose, also commercially (authors' README); the model card says CreativeML OpenRAIL-M"
_MUSETALK_JSON: Final = "5b6923aee04d71692e0e9846c471e0a4ea07a4f686d39545e472bd4ba17e1b47"  # one file in both versions
_VAE_LICENCE: Final = "MIT (model card)"
_WHISPER_LICENCE: Final = "Apache-2.0 (model card; OpenAI's own repository says MIT)"
# zllrunning/face-parsing.PyTorch#47 asks, and has no answer.
_PARSER_LICENCE: Final = (
    "not stated (code MIT, but trained on CelebAMask-HQ, a data set for non-commercial research; a re-upload)"
)
_GFPGAN_LICENCE: Final = (  # gfpgan.md 1
    "Apache-2.0 except third-party parts, of which StyleGAN2 and DFDNet have non-commercial terms: have it checked"
)

REGISTRY: Final[dict[str, Weight]] = {
    weight.name: weight
    for weight in (
        Weight(
            name="yunet",
            file="face_detection_yunet_2023mar.onnx",
            url="https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/"
            "face_detection_yunet/face_detection_yunet_2023mar.onnx",
            sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
            size=232_589,
            licence="MIT",
            commercial=True,
        ),
        Weight(
            name="s3fd",
            file="s3fd-619a316812.pth",
            url=f"{_FAN_URL}/s3fd-619a316812.pth",
            sha256="619a31681264d3f7f7fc7a16a42cbbe8b23f31a256f75a366e5a1bcd59b33543",  # wav2lip.md 1
            size=89_843_225,
            licence=_FAN_LICENCE,
        ),
        Weight(
            name="2dfan4",
            file="2DFAN4-11f355bf06.pth.tar",
            url=f"{_FAN_URL}/2DFAN4-11f355bf06.pth.tar",
            # The file's name carries its first ten digits; the rest as public installers quote it.
            sha256="11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa",
            size=None,
            licence=_FAN_LICENCE,
        ),
        Weight(
            name="dwpose",
            file="dw-ll_ucoco_384.onnx",
            url=f"{_DWPOSE_URL}/dw-ll_ucoco_384.onnx",
            sha256="724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843",
            size=134_399_116,
            licence="Apache-2.0 (model card)",
            commercial=True,
        ),
        Weight(
            name="wav2lip",
            file="wav2lip.pth",
            url=None,
            sha256="b78b681b68ad9fe6c6fb1debc6ff43ad05834a8af8a62ffc4167b7b34ef63c37",  # wav2lip.md 1
            size=435_807_851,
            licence=_WAV2LIP_LICENCE,
            commercial=False,
            note=_WAV2LIP_NOTE.format(name="wav2lip"),
        ),
        Weight(
            name="wav2lip_gan",
            file="wav2lip_gan.pth",
            url=None,
            sha256="ca9ab7b7b812c0e80a6e70a5977c545a1e8a365a6c49d5e533023c034d7ac3d8",  # wav2lip.md 1
            size=435_801_865,
            licence=_WAV2LIP_LICENCE,
            commercial=False,
            note=_WAV2LIP_NOTE.format(name="wav2lip_gan"),
        ),
        Weight(
            name="musetalk-1.5-config",
            file="musetalkV15/musetalk.json",
            url=f"{_MUSETALK_URL}/musetalkV15/musetalk.json",
            sha256=_MUSETALK_JSON,
            size=748,
            licence=_MUSETALK_LICENCE,
            commercial=True,
        ),
        Weight(
            name="musetalk-1.5-unet",
            file="musetalkV15/unet.pth",
            url=f"{_MUSETALK_URL}/musetalkV15/unet.pth",
            sha256="7ebf6c98c181e20838e4c0054e96e944ac60d5d692cc01db42839fe11b787007",
            size=3_400_074_924,
            licence=_MUSETALK_LICENCE,
            commercial=True,
        ),
        Weight(
            name="musetalk-1.0-config",
            file="musetalk/musetalk.json",
            url=f"{_MUSETALK_URL}/musetalk/musetalk.json",
            sha256=_MUSETALK_JSON,
            size=748,
            licence=_MUSETALK_LICENCE,
            commercial=True,
        ),
        Weight(
            name="musetalk-1.0-unet",
            file="musetalk/pytorch_model.bin",
            url=f"{_MUSETALK_URL}/musetalk/pytorch_model.bin",
            sha256=None,
            size=None,  # about 3.4 GB (model page)
            licence=_MUSETALK_LICENCE,
            commercial=True,
        ),
        Weight(
            name="sd-vae-config",
            file="sd-vae/config.json",
            url=f"{_VAE_URL}/config.json",
            sha256="92d3dfb746fca211a2c9e019e285f8597412211728dce3c5bcf4eda0f2d62e7e",
            size=547,
            licence=_VAE_LICENCE,
            commercial=True,
        ),
        Weight(
            name="sd-vae",
            file="sd-vae/diffusion_pytorch_model.bin",
            url=f"{_VAE_URL}/diffusion_pytorch_model.bin",
            sha256="1b4889b6b1d4ce7ae320a02dedaeff1780ad77d415ea0d744b476155c6377ddc",
            size=334_707_217,
            licence=_VAE_LICENCE,
            commercial=True,
        ),
        Weight(
            name="whisper-tiny-config",
            file="whisper/config.json",
            url=f"{_WHISPER_URL}/config.json",
            sha256="ffdccec4f3211f4c63310f2b7098f309fe70f3952cedc5e4d11e43f5b2379b98",
            size=1_983,
            licence=_WHISPER_LICENCE,
            commercial=True,
        ),
        Weight(
            name="whisper-tiny-preprocessor",
            file="whisper/preprocessor_config.json",
            url=f"{_WHISPER_URL}/preprocessor_config.json",
            sha256="9b5cd03a36fbb8a627c64d98a5b5b126ead95a77720723944487311f0110b666",
            size=184_990,
            licence=_WHISPER_LICENCE,
            commercial=True,
        ),
        Weight(
            name="whisper-tiny",
            file="whisper/pytorch_model.bin",
            url=f"{_WHISPER_URL}/pytorch_model.bin",
            sha256="9607f98a2b22d9e229ae43c52ecea79dcede9e0c5cfae67e8da6eda86d8aac1d",
            size=151_095_027,
            licence=_WHISPER_LICENCE,
            commercial=True,
        ),
        Weight(
            name="face-parse-bisenet",
            file="face-parse-bisent/79999_iter.pth",  # the folder's name is spelt so
            url=f"{_PARSER_URL}/79999_iter.pth",
            sha256="468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
            size=53_289_463,
            licence=_PARSER_LICENCE,
        ),
        Weight(
            name="gfpgan-1.2",
            file="GFPGANv1.2.pth",
            url=f"{_GFPGAN_URL}/GFPGANv1.2.pth",
            # clibdev/GFPGAN-onnxruntime-demo; package builds quote it for the old name, GFPGANCleanv1-NoCE-C2.pth.
            sha256="29e25ee90c170f4231163f4c83df6b59c968b73f3ce00cb884015ae005db083c",
            size=None,
            licence=_GFPGAN_LICENCE,
        ),
        Weight(
            name="gfpgan-1.3",
            file="GFPGANv1.3.pth",
            url=f"{_GFPGAN_URL}/GFPGANv1.3.pth",
            # clibdev/GFPGAN-onnxruntime-demo and others; the size as installers quote it.
            sha256="c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70",
            size=348_632_874,
            licence=_GFPGAN_LICENCE,
        ),
        Weight(
            name="gfpgan-1.4",
            file="GFPGANv1.4.pth",
            url=f"{_GFPGAN_URL}/GFPGANv1.4.pth",
            # Ten public installers alike; the size also in gfpgan.md 1.
            sha256="e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad",
            size=348_632_874,
            licence=_GFPGAN_LICENCE,
        ),
    )
}

_MUSETALK_SHARED: Final = (
    "sd-vae-config",
    "sd-vae",
    "whisper-tiny-config",
    "whisper-tiny-preprocessor",
    "whisper-tiny",
    "face-parse-bisenet",
)
BUNDLES: Final[dict[str, tuple[str, ...]]] = {
    "musetalk-1.5": ("musetalk-1.5-config", "musetalk-1.5-unet", *_MUSETALK_SHARED),
    "musetalk-1.0": ("musetalk-1.0-config", "musetalk-1.0-unet", *_MUSETALK_SHARED),
}
"""What is fetched and checked together: all that a generator loads."""


def members(name: str) -> tuple[str, ...]:
    """The names of a bundle's files, or the name itself. Raises DubError `weights_missing`: there is no such name."""
    if name in BUNDLES:
        return BUNDLES[name]
    return (known(name).name,)


def known(name: str) -> Weight:
    """The file of a name. Raises DubError `weights_missing`: there is none, and the nearest."""
    weight = REGISTRY.get(name)
    if weight is None:
        raise DubError("weights_missing", unknown(name))
    return weight


def unknown(name: str) -> str:
    """What to say of a name that is none."""
    near = difflib.get_close_matches(name, [*REGISTRY, *BUNDLES], n=1)
    hint = f": did you mean {near[0]}?" if near else ";"
    return f"{name!r} is not a known name{hint} `dubline weights list` shows them all"
