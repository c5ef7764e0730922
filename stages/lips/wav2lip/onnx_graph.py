"""The folded generator as an ONNX graph, written out layer by layer.

Torch's own exporters need a further package (`onnxscript`) or are deprecated, and there are only five kinds of layer.
"""

from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from stages.lips.wav2lip.network import CROP_PX, MEL_BANDS, MEL_COLUMNS, Conv, ConvT, Wav2Lip

_OPSET: Final = 17
_IR: Final = 8
"""The IR that belongs to opset 17: newer ones are refused by older ONNX Runtimes."""


def serialised(network: Wav2Lip) -> bytes:
    """The model file of `network`, whose batch norms are folded.

    Inputs `mel` float32 [batch, 1, 80, 16] and `face` float32 [batch, 6, 96, 96], output `picture` [batch, 3, 96, 96].
    """
    graph = _Graph()
    skips: list[str] = []
    x = "face"
    for block in network.face_encoder_blocks:
        x = graph.units(block, x)
        skips.append(x)
    x = graph.units(network.audio_encoder, "mel")
    for block in network.face_decoder_blocks:
        x = graph.add("Concat", [graph.units(block, x), skips.pop()], axis=1)
    features, to_pixels, _ = network.output_block
    x = graph.add("Sigmoid", [graph.layer(to_pixels, graph.unit(features, x))], output="picture")
    model: Any = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "wav2lip",
            [_value("mel", 1, MEL_BANDS, MEL_COLUMNS), _value("face", 6, CROP_PX, CROP_PX)],
            [_value(x, 3, CROP_PX, CROP_PX)],
            graph.tensors,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
    )
    data: bytes = model.SerializeToString()
    return data


def _value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])


class _Graph:
    """Nodes and weights in the order they were added; every value is named by its number."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def add(self, op: str, inputs: list[str], *, output: str = "", **attributes: Any) -> str:
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def units(self, block: nn.Module, x: str) -> str:
        for unit in block.children():
            x = self.unit(unit, x)
        return x

    def unit(self, unit: nn.Module, x: str) -> str:
        """Convolution, the input added where the unit is residual, ReLU."""
        if not isinstance(unit, Conv | ConvT):
            raise TypeError(f"no unit of the generator: {type(unit).__name__}")
        y = self.layer(unit.conv_block, x)
        if isinstance(unit, Conv) and unit.residual:
            y = self.add("Add", [y, x])
        return self.add("Relu", [y])

    def layer(self, conv: nn.Module, x: str) -> str:
        if not isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) or conv.bias is None:
            raise TypeError(f"not a folded convolution: {type(conv).__name__}")
        rows, columns = (int(p) for p in conv.padding)
        attributes: dict[str, Any] = {
            "kernel_shape": list(conv.kernel_size),
            "strides": list(conv.stride),
            "pads": [rows, columns, rows, columns],
        }
        op = "Conv"
        if isinstance(conv, nn.ConvTranspose2d):
            op = "ConvTranspose"
            attributes["output_padding"] = list(conv.output_padding)
        inputs = [x, self._weights(conv.weight), self._weights(conv.bias)]
        return self.add(op, inputs, **attributes)

    def _weights(self, values: Tensor) -> str:
        name = f"w{len(self.tensors)}"
        array = np.ascontiguousarray(values.detach().numpy())
        self.tensors.append(numpy_helper.from_array(array, name))
        return name
