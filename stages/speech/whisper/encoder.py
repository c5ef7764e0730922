"""Whisper's encoder out of transformers, with weights from a folder in the official layout (musetalk.md 2, 3.3)."""

from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from stages.arrays import F32
from stages.batches import Batches, device_of, running, upload
from stages.checkpoint import State, WeightsFile
from stages.networks import Device
from stages.speech.bands import BANDS
from stages.speech.whisper.files import find
from stages.speech.whisper.log_mel import COLUMNS

_PREFIXES: Final = ("model.encoder.", "encoder.")  # musetalk.md 2
_WHAT: Final = "Whisper weights"
_ADVICE: Final = (
    "«dubline weights fetch musetalk-1.5» brings them; or give a folder of openai/whisper-tiny with config.json and "
    "model.safetensors or pytorch_model.bin in it"
)


class Sizes(BaseModel):
    """What of config.json makes a difference to the encoder. The front end is the same for every size."""

    model_config = ConfigDict(strict=True)

    model_type: Literal["whisper"]
    d_model: int = Field(ge=4, le=8192, multiple_of=2)
    encoder_layers: int = Field(ge=1, le=64)
    encoder_attention_heads: int = Field(ge=1, le=256)
    encoder_ffn_dim: int = Field(ge=1, le=65536)
    num_mel_bins: Literal[80] = 80
    max_source_positions: Literal[1500] = 1500
    activation_function: Literal["gelu"] = "gelu"
    scale_embedding: Literal[False] = False


class Encoder:
    """One piece's log-mel -> all hidden states. Arguments and errors as `WhisperFeatures`."""

    def __init__(self, weights: Path, device: Device, threads: int) -> None:
        self.device = device_of("whisper", device, "float32")
        self._threads = threads
        self._memory = Batches("Whisper", self.device, 1)
        network = load(weights)
        self.states = len(network.layers) + 1
        self.width = int(network.layer_norm.normalized_shape[0])
        with self._memory.fitting("its weights"):
            self._network = network.to(self.device)  # type: ignore[arg-type]

    def __call__(self, mel: F32, *, raw_last: bool) -> F32:
        """float32[1500, states, width]: input of the first layer, outputs of all layers.

        `mel`: float32[80, 3000]. The last state is layer-normed, unless `raw_last` (musetalk.md 4.3 step 3).
        """
        if mel.shape != (BANDS, COLUMNS) or mel.dtype != np.float32:
            raise ValueError(f"a piece's mel is float32[{BANDS}, {COLUMNS}], not {mel.dtype}{list(mel.shape)}")
        with running(self.device, self._threads), self._memory.fitting("a piece of 30 s"):
            states: F32 = self._states(upload(mel[None], self.device), raw_last=raw_last).cpu().numpy()
        return states

    def _states(self, mel: Tensor, *, raw_last: bool) -> Tensor:
        raw: list[Tensor] = []
        hook = self._network.layer_norm.register_forward_pre_hook(lambda _, inputs: raw.append(inputs[0]))
        try:
            states = list(self._network(mel, output_hidden_states=True, return_dict=True).hidden_states)
        finally:
            hook.remove()
        if raw_last:
            states[-1] = raw[0]
        return torch.stack(states, dim=2)[0]


def load(weights: Path) -> WhisperEncoder:
    """The encoder of a folder, float32 on the CPU, ready to run: eval mode, no gradients.

    Raises DubError `weights_missing`, saying what is wrong, for anything else than a whole Whisper model's files.
    """
    config, path = find(weights)
    network = skeleton(_sizes(config))
    file = WeightsFile(path, _WHAT, _ADVICE)
    network.load_state_dict(file.conform(_of_encoder(file), network.state_dict()), strict=True, assign=True)
    network.train(False)
    network.requires_grad_(False)
    return network


def skeleton(sizes: Sizes) -> WhisperEncoder:
    """The encoder without weights, on the meta device."""
    config = WhisperConfig(
        d_model=sizes.d_model,
        encoder_layers=sizes.encoder_layers,
        encoder_attention_heads=sizes.encoder_attention_heads,
        encoder_ffn_dim=sizes.encoder_ffn_dim,
    )
    with torch.device("meta"):  # the weights replace the parameters: none is made for nothing
        return WhisperEncoder(config)


def _sizes(path: Path) -> Sizes:
    file = WeightsFile(path, _WHAT, _ADVICE)
    try:
        sizes = Sizes.model_validate_json(path.read_bytes())
    except OSError as error:
        raise file.refusal(f"it cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{name}: " for name in first["loc"])
        raise file.refusal(f"this is no configuration of Whisper ({where}{first['msg']})") from None
    if sizes.d_model % sizes.encoder_attention_heads:
        raise file.refusal(f"{sizes.encoder_attention_heads} heads cannot share a width of {sizes.d_model}")
    return sizes


def _of_encoder(file: WeightsFile) -> State:
    """The encoder's part of a file that may hold the whole model."""
    state = file.state()
    for prefix in _PREFIXES:
        found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if found:
            return found
    raise file.refusal("it holds no Whisper encoder")
