"""The two ways to run the network: torch, and ONNX Runtime. Both take a step's input and give its picture back."""

import contextlib
import copy
import tempfile
from importlib import import_module
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stages.batches import DTYPES, running
from stages.errors import DubError
from stages.lips.wav2lip.network import Conv, ConvT, Wav2Lip


class Backend(Protocol):
    """Runs one step."""

    def __call__(self, mel: Tensor, face: Tensor) -> Tensor:
        """`mel`: float32 [B, 1, 80, 16]. `face`: float32 [B, 6, 96, 96]. Returns float32 [B, 3, 96, 96] in [0, 1]."""
        ...

    def running(self) -> contextlib.AbstractContextManager[None]:
        """What must hold while steps run: thread count, exact arithmetic."""
        ...


def fold(network: Wav2Lip) -> Wav2Lip:
    """Every batch norm of `network` (eval mode) multiplied into its convolution, in place."""
    for unit in network.modules():
        if isinstance(unit, Conv | ConvT):
            conv, norm = unit.conv_block.children()
            unit.conv_block = fuse_conv_bn_eval(conv, norm, transpose=isinstance(unit, ConvT))  # type: ignore[type-var, arg-type]
    return network


class TorchBackend:
    """The network in torch, on the CPU or one GPU. `parity` leaves layers and memory layout as they were trained."""

    def __init__(self, network: Wav2Lip, *, device: str, dtype: str, parity: bool, threads: int) -> None:
        self._device = device
        self._dtype = DTYPES[dtype]
        self._threads = threads
        self._layout = torch.contiguous_format if parity else torch.channels_last
        if not parity:
            network = fold(network)
        # 0..1 in steps of 1/255 needs more bits than bfloat16 has: the last 1x1 layer and the sigmoid stay in float32.
        last = copy.deepcopy(network.output_block[1])
        network = network.to(dtype=self._dtype)
        network.output_block[1] = last
        self.network = network.to(device=device, memory_format=self._layout)  # type: ignore[call-overload]

    def __call__(self, mel: Tensor, face: Tensor) -> Tensor:
        """See `Backend`; everything is on the device."""
        face = face.to(self._dtype, memory_format=self._layout)
        picture: Tensor = self.network(mel.to(self._dtype), face)
        return picture

    def running(self) -> contextlib.AbstractContextManager[None]:
        """See `Backend`."""
        return running(self._device, self._threads)


class OnnxBackend:
    """The folded network in ONNX Runtime, float32 on the CPU."""

    def __init__(self, network: Wav2Lip, *, threads: int) -> None:
        try:
            runtime: Any = import_module("onnxruntime")
            graph = import_module("stages.lips.wav2lip.onnx_graph")
        except ImportError as error:
            raise DubError(
                "unsupported",
                f"lips mode 'onnx' needs {error.name}: run «pip install 'dubline[cpu]'», or set mode to fast",
            ) from error
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # its errors arrive as exceptions; printing them as well helps nobody
        # Waiting threads sleep instead of spinning: the decoder and the encoder beside us need the cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._failures = (
            runtime.capi.onnxruntime_pybind11_state.Fail,
            runtime.capi.onnxruntime_pybind11_state.RuntimeException,
        )
        # Through a file: of a model that is handed over as bytes, the session keeps a second copy of 145 MB for good.
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            file.write(graph.serialised(fold(network)))
            file.flush()
            self._session = runtime.InferenceSession(file.name, options, providers=["CPUExecutionProvider"])

    def __call__(self, mel: Tensor, face: Tensor) -> Tensor:
        """See `Backend`."""
        inputs = {"mel": mel.numpy(), "face": face.contiguous().numpy()}
        try:
            return torch.from_numpy(self._session.run(None, inputs)[0])
        except self._failures as error:
            if "Failed to allocate memory" in str(error):  # it has no exception of its own for that
                raise MemoryError(str(error)) from error
            raise

    def running(self) -> contextlib.AbstractContextManager[None]:
        """See `Backend`; the session has its own threads."""
        return torch.inference_mode()
