"""Whisper's encoder as a model of speech: samples in, hidden states out."""

from pathlib import Path

import numpy as np

from stages.arrays import F32
from stages.errors import DubError
from stages.networks import Device
from stages.speech.samples import Samples
from stages.speech.whisper.log_mel import Route
from stages.speech.whisper.pieces import OVERLAP_S, Pieces


class WhisperFeatures:
    """The encoder of whisper-tiny, or of another size that its config.json gives.

    Pieces go through it one by one, in float32: a token's value does not depend on what else is asked for.

    `weights`: the folder of the model (config.json, and model.safetensors or pytorch_model.bin), or one that has it as
    `whisper/`. `device`: `cuda` fails where there is no GPU, `auto` takes one where there is one. `threads`: on a CPU.
    Raises DubError `weights_missing`, `unsupported` where the device or an installed package is missing, `oom`.
    """

    device: str
    """Where it runs: `cpu` or `cuda`."""
    states: int
    """Hidden states of a token: one more than layers."""
    width: int
    """Values of a state."""

    def __init__(self, weights: str | Path, device: Device = "cpu", *, threads: int = 2) -> None:
        try:
            from stages.speech.whisper.encoder import Encoder  # torch and transformers only with the weights
        except ImportError as error:
            raise DubError(
                "unsupported", f"Whisper's features need {error.name}: run «pip install 'dubline[musetalk]'»"
            ) from error
        self._encoder = Encoder(Path(weights), device, threads)
        self.device = self._encoder.device
        self.states, self.width = self._encoder.states, self._encoder.width

    def features(self, samples: F32, route: Route = "current", overlap_s: float = OVERLAP_S) -> F32:
        """The features of a whole dub.

        `samples`: float32[n] at 16 kHz, all finite. `route`: see `log_mel`; `legacy` also takes the last state as it
        is before the encoder's final LayerNorm (musetalk.md 4.3). `overlap_s`: see `Pieces`; 0 is the official
        cutting. Returns float32[n // 320, states, width] at 50 Hz. Raises ValueError on other samples.
        """
        pieces = Pieces(Samples(np.asarray(samples)), route, overlap_s)
        numbers, rows = pieces.places(np.arange(pieces.tokens))
        out = np.empty((pieces.tokens, self.states, self.width), np.float32)
        for piece in np.unique(numbers).tolist():
            here = numbers == piece
            out[here] = self.encode(pieces.mel(piece), route)[rows[here]]
        return out

    def encode(self, mel: F32, route: Route = "current") -> F32:
        """float32[1500, states, width] of one piece. `mel`: float32[80, 3000]."""
        return self._encoder(mel, raw_last=route == "legacy")
