"""Reads GFPGAN checkpoints (1.2, 1.3, 1.4: gfpgan.md 1) into spandrel's network, and runs no code that a file carries.

spandrel has the layers under their official names; its own file reader is not used, so that only one is trusted.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from stages.checkpoint import WeightsFile, first_line
from stages.enhance.align import FACE_PX
from stages.errors import DubError

ENTRIES: Final = 285
PARAMETERS: Final = 86_444_252
"""Of the official state dict, noise buffers apart (gfpgan.md 1)."""

_ADVICE: Final = (
    "Run «dubline weights fetch gfpgan-1.4», or give the path of an official GFPGAN 1.2, 1.3 or 1.4 checkpoint"
)
_WITHIN: Final = ("params_ema", "params", "state_dict")  # gfpgan.md 1; the last is what converters write
_FOREIGN: Final = {  # a key that gives a network away -> what it is
    "conv_body_first.0.weight": "GFPGAN 1, the first version, which needs its own CUDA code",
    "position_emb": "CodeFormer, not GFPGAN",
    "quantize.embedding.weight": "RestoreFormer or another codebook network, not GFPGAN",
    "vqvae.quantize.embedding.weight": "RestoreFormer, not GFPGAN",
    "body.0.rdb1.conv1.weight": "Real-ESRGAN, an upscaler of whole pictures, not GFPGAN",
    "out_mask_conv.conv2d.weight": "ParseNet, a face parser, not GFPGAN",
    "ClassHead.0.conv1x1.weight": "the RetinaFace detector, not GFPGAN",
    "face_encoder_blocks.0.0.conv_block.0.weight": "a Wav2Lip generator, not GFPGAN",
}


def blank(narrow: float = 1.0, styles: int = 512) -> nn.Module:
    """spandrel's network with the constructor values of gfpgan.md 1, on the meta device: shapes without memory.

    `narrow`: channels as a share of the official ones. `styles`: length of a style vector, officially 512.
    Raises DubError `unsupported` where spandrel is not installed.
    """
    try:
        # It imports torchvision, and 42 other networks: only where one is loaded (gfpgan.md 9.2).
        architecture: Any = import_module("spandrel.architectures.GFPGAN")
    except (ImportError, RuntimeError) as error:  # the latter: a torchvision that does not belong to this torch
        raise DubError(
            "unsupported",
            f"enhance model 'gfpgan' needs spandrel ({first_line(error)}): run «pip install 'dubline[enhance]'»",
        ) from error
    with torch.device("meta"):
        network: nn.Module = architecture.GFPGAN(
            out_size=FACE_PX,
            num_style_feat=styles,
            channel_multiplier=2,
            num_mlp=8,
            input_is_latent=True,
            different_w=True,
            narrow=narrow,
            sft_half=True,
        )
    return network


def network(path: Path) -> nn.Module:
    """spandrel's network with the weights of `path`: float32, on the CPU, eval mode, no gradients.

    Raises DubError `weights_missing`, saying what is wrong with the file, and `unsupported` without spandrel.
    """
    file = WeightsFile(path, "GFPGAN weights", _ADVICE)
    state = file.state(_WITHIN)
    net = blank(*_widths(state))
    whole = file.conform(state, net.state_dict(), foreign=_FOREIGN)
    net.load_state_dict(whole, strict=True, assign=True)
    return net.eval().requires_grad_(False)


def _widths(state: Mapping[str, Tensor]) -> tuple[float, int]:
    """`narrow` and `styles` as two shapes of the file say; the official ones where they cannot be a GFPGAN's.

    Distilled and test networks are narrower; every other shape must follow from these two.
    """
    code = state.get("final_linear.weight")
    last = state.get("final_conv.bias")
    if code is None or last is None or code.dim() != 2 or last.dim() != 1 or not 8 <= len(last) <= 256:
        return 1.0, 512
    return len(last) / 256, max(1, len(code) // 16)  # 256 channels and 16 style vectors, gfpgan.md 2
