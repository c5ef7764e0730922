"""Writes folders of Whisper weights in the official layout, with weights that need no training.

    python -m tests.speech.whisper_files /tmp/models/whisper

The default is four layers like whisper-tiny's, narrow, so that a piece of 30 s takes a few hundredths of a second;
`write(folder, **TINY)` has whisper-tiny's own shapes (33 MB). Every state of every token depends on what is heard:
with `state` on all of it, with `loudness` on how loud it is there and then.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

TINY = {"width": 384, "layers": 4, "heads": 6, "ffn": 1536}
POSITIONS = 1500


def config(width: int = 16, layers: int = 4, heads: int = 2, ffn: int = 32) -> dict[str, Any]:
    """The official config.json, at another size."""
    return {
        "_name_or_path": "openai/whisper-tiny",
        "activation_dropout": 0.0,
        "activation_function": "gelu",
        "architectures": ["WhisperForConditionalGeneration"],
        "attention_dropout": 0.0,
        "bos_token_id": 50257,
        "d_model": width,
        "decoder_attention_heads": heads,
        "decoder_ffn_dim": ffn,
        "decoder_layerdrop": 0.0,
        "decoder_layers": layers,
        "decoder_start_token_id": 50258,
        "dropout": 0.0,
        "encoder_attention_heads": heads,
        "encoder_ffn_dim": ffn,
        "encoder_layerdrop": 0.0,
        "encoder_layers": layers,
        "eos_token_id": 50257,
        "init_std": 0.02,
        "is_encoder_decoder": True,
        "max_source_positions": POSITIONS,
        "max_target_positions": 448,
        "model_type": "whisper",
        "num_hidden_layers": layers,
        "num_mel_bins": 80,
        "pad_token_id": 50257,
        "scale_embedding": False,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": 51865,
    }


PREPROCESSOR = {
    "chunk_length": 30,
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 80,
    "hop_length": 160,
    "n_fft": 400,
    "n_samples": 480000,
    "nb_max_frames": 3000,
    "padding_side": "right",
    "padding_value": 0.0,
    "processor_class": "WhisperProcessor",
    "return_attention_mask": False,
    "sampling_rate": 16000,
}
"""The official preprocessor_config.json, without its table of filters."""


def shapes(width: int = 16, layers: int = 4, heads: int = 2, ffn: int = 32) -> dict[str, tuple[int, ...]]:
    """The encoder's official names and shapes: 7 + 15 a layer."""
    found: dict[str, tuple[int, ...]] = {
        "conv1.weight": (width, 80, 3),
        "conv1.bias": (width,),
        "conv2.weight": (width, width, 3),
        "conv2.bias": (width,),
        "embed_positions.weight": (POSITIONS, width),
    }
    for layer in range(layers):
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            found[f"layers.{layer}.self_attn.{name}.weight"] = (width, width)
            if name != "k_proj":
                found[f"layers.{layer}.self_attn.{name}.bias"] = (width,)
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            found[f"layers.{layer}.{name}.weight"] = found[f"layers.{layer}.{name}.bias"] = (width,)
        for name, rows, columns in (("fc1", ffn, width), ("fc2", width, ffn)):
            found[f"layers.{layer}.{name}.weight"] = (rows, columns)
            found[f"layers.{layer}.{name}.bias"] = (rows,)
    found["layer_norm.weight"] = found["layer_norm.bias"] = (width,)
    return found


def state(seed: int = 0, **size: int) -> dict[str, Tensor]:
    """The encoder's weights under their names in the network: values of a trained model's order of magnitude."""
    random = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes(**size).items():
        values = torch.randn(shape, generator=random)
        if len(shape) == 1:
            found[name] = 0.1 * values + (1 if "norm.weight" in name else 0)
        else:
            found[name] = values / math.prod(shape[1:]) ** 0.5
    return found


def loudness(along: Tensor, quiet: float = -0.5, loud: float = 0.7) -> dict[str, Tensor]:
    """Weights whose states have 0 along a direction where the mel's mean is `quiet`, 1 where it is `loud`.

    `along`: float32 [width], its values in opposite pairs: gelu(x) - gelu(-x) = x. The last of the five states is
    normalised and says nothing, so the others are larger.
    """
    found = {name: torch.zeros(shape) for name, shape in shapes(width=len(along)).items()}
    for name, value in found.items():
        if name.endswith("norm.weight") and name != "layer_norm.weight":
            value.fill_(1)
    steep = 100.0  # the first activation bends within a hundredth of the way from 0 to 1
    found["conv1.weight"][0, :, 1] = steep / 80 / (loud - quiet)
    found["conv1.bias"][0] = -steep * quiet / (loud - quiet)
    found["conv2.weight"][:, 0, 1] = along.sign() * 2 / along.abs().sum() / steep * 5 / 4
    return found


def write(
    folder: Path,
    seed: int = 0,
    layout: Literal["safetensors", "pickle"] = "safetensors",
    prefix: str = "model.encoder.",
    encoder: dict[str, Tensor] | None = None,
    **size: int,
) -> Path:
    """Write a folder of weights and return it. `size`: width, layers, heads, ffn. `encoder`: other than `state`'s."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(**size), indent=2))
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=2))
    whole = {prefix + name: value for name, value in (encoder or state(seed, **size)).items()}
    # A little of the decoder, which nobody asks for.
    whole[prefix.replace("encoder", "decoder") + "layer_norm.weight"] = torch.ones(config(**size)["d_model"])
    if layout == "safetensors":
        save_file(whole, folder / "model.safetensors", {"format": "pt"})
    else:
        torch.save(whole, folder / "pytorch_model.bin")
    return folder


if __name__ == "__main__":
    print(write(Path(sys.argv[1]), **TINY))
