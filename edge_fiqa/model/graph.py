"""One segment as an ONNX graph, written node by node from the folded weights. Needs no torch.

Graph inputs and outputs (the contract that every backend relies on):
    image   (N, 112, 112, 3) uint8 RGB   input of a segment that starts at block 1
    tokens  (N, T, D) float32            input of every other segment
    tokens_out (N, T, D) float32         output of a body; a tail has none
    scores  (N, blocks) float32          raw score after each block of the segment
    causes  (N, D) float32               logits of D causes behind its last block, where the weights
                                         have heads for them
Names inside are stable, so that ranges and reports can speak of `block3/fc1`.

Opset 17, for LayerNormalization; every TensorRT from 10.3 parses it. Precision is in the graph:
half precision casts the inputs of linear layers and attention, while the residual stream, the
normalisations and the scores stay float32. Softmax scale and norm affines are in the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_fiqa.errors import ConfigError
from edge_fiqa.model.cause_heads import CauseHeads
from edge_fiqa.model.fold import fold_causes, fold_head, fold_norm, fold_stem
from edge_fiqa.model.weights import Weights
from edge_fiqa.types import IMAGE, PATCH, Array, Precision, Segment, VitConfig

OPSET, IR_VERSION = 17, 8
FLOAT = TensorProto.FLOAT
LN_EPS = 1e-5
HALF: Mapping[Precision, int] = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
LINEAR_LAYERS = ("stem", "q", "k", "v", "proj", "fc1", "fc2")
PIXELS = "stem/pixels"  # the one activation whose INT8 scale is known exactly: 1


def segment_graph(
    weights: Weights,
    segment: Segment,
    precision: Precision = "fp32",
    batch: int | None = None,
    *,
    half_weights: bool = False,
) -> onnx.ModelProto:
    """The checked ONNX model of one segment. `batch` None leaves N dynamic.

    half_weights: an fp32 graph stores weights as float16, half the size, and widens them on loading.
    "int8" is not made here but by `quantise.quantise_segment` from the fp32 graph.
    """
    check_segment(segment, weights.config)
    if precision == "int8":
        raise ConfigError("an int8 graph is made from the fp32 graph by quantise_segment")
    return _SegmentBuilder(weights, segment, HALF.get(precision), batch, half_weights).build()


def check_segment(segment: Segment, config: VitConfig) -> None:
    if segment.last > config.depth:
        raise ConfigError(f"segment {segment.name} ends after the last block, {config.depth}")
    if segment.tail and config.mode != "token":
        raise ConfigError(f"{config.mode} mode has no tails: its head reads every token")


class _SegmentBuilder:
    def __init__(
        self,
        weights: Weights,
        segment: Segment,
        half: int | None,
        batch: int | None,
        half_weights: bool,
    ) -> None:
        self.weights, self.config, self.segment = weights.arrays, weights.config, segment
        self.causes = weights.causes
        self.half, self.batch, self.half_weights = half, batch, half_weights
        self.head = fold_head(weights.arrays, weights.config)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def build(self) -> onnx.ModelProto:
        segment = self.segment
        x = self._stem("image") if segment.first == 1 else "tokens"
        scores = []
        for number in range(segment.first, segment.last + 1):
            tail = segment.tail and number == segment.last
            last_of_body = number == segment.last and not segment.tail
            x = self._block(x, number, tail, "tokens_out" if last_of_body else None)
            xhat = self._normalised_tokens(x, number, only_token=tail)
            scores.append(self._score(xhat, number))
        if len(scores) > 1:
            self._add("Concat", scores, "scores", axis=1)
        else:
            self._add("Identity", scores, "scores")
        if self.causes is not None:
            self._causes(xhat, self.causes)
        return self._model(*self._inputs_and_outputs())

    def _inputs_and_outputs(self) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
        segment, value = self.segment, helper.make_tensor_value_info
        n: int | str = self.batch or "N"
        tokens = [n, self.config.tokens, self.config.width]
        if segment.first == 1:
            source = value("image", TensorProto.UINT8, [n, IMAGE, IMAGE, 3])
        else:
            source = value("tokens", TensorProto.FLOAT, tokens)
        outputs = [value("scores", TensorProto.FLOAT, [n, segment.last - segment.first + 1])]
        if not segment.tail:
            outputs.insert(0, value("tokens_out", TensorProto.FLOAT, tokens))
        if self.causes is not None:
            outputs.append(value("causes", TensorProto.FLOAT, [n, len(self.causes.names)]))
        return [source], outputs

    def _model(
        self, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        constants = list(self.constants.values())
        graph = helper.make_graph(self.nodes, self.segment.name, inputs, outputs, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version, model.producer_name = IR_VERSION, "edge_fiqa"
        onnx.checker.check_model(model, full_check=True)
        return model

    # ---- layers

    def _stem(self, image: str) -> str:
        w, c = fold_stem(self.weights, self.config)
        side = IMAGE // PATCH
        # The cast comes first: TensorRT takes uint8 as a network input, but no layer computes on it.
        x = self._add("Cast", [image], to=TensorProto.FLOAT)
        x = self._add("Sub", [x, self._constant("stem/centre", np.float32(128))])
        used = [self._ints(v) for v in ([0, 0], [side * PATCH] * 2, [1, 2])]
        x = self._add("Slice", [x, *used])
        x = self._add("Reshape", [x, self._ints([-1, side, PATCH, side, PATCH, 3])])
        x = self._add("Transpose", [x], perm=[0, 1, 3, 2, 4, 5])
        x = self._add("Reshape", [x, self._ints([-1, side * side, PATCH * PATCH * 3])], PIXELS)
        x = self._matmul(x, "stem", w)
        x = self._float(x, "stem/float")
        if self.config.has_quality_token:  # a zero row in front; its values are in c
            pads = self._ints([0, 1, 0, 0, 0, 0])
            x = self._add("Pad", [x, pads, self._constant("zero", np.float32(0))])
        return self._add("Add", [x, self._constant("stem/c", c)], "block0/out")

    def _block(self, x: str, number: int, tail: bool, out: str | None) -> str:
        key, name = f"blocks.{number - 1}.", f"block{number}/"
        attended = self._attention(self._xhat(x, name + "norm1"), key, name, tail)
        if tail:
            x = self._first_token(x, name + "token")
        y = self._add("Add", [x, attended], name + "mid")
        fc1 = fold_norm(self.weights, key + "norm2", key + "mlp.fc1")
        z = self._linear(self._xhat(y, name + "norm2"), name + "fc1", *fc1)
        z = self._add("Clip", [z, self._half("zero", 0.0), self._half("six", 6.0)], name + "relu6")
        z = self._float(self._linear(z, name + "fc2", *self._layer(key + "mlp.fc2")), name + "mlp")
        return self._add("Add", [y, z], out or name + "out")

    def _attention(self, x: str, key: str, name: str, tail: bool) -> str:
        """Query, key and value are three products: a body and a tail then share their weights."""
        q, k, v = self._query_key_value(x, key, name, tail)
        k = self._add("Transpose", [k], perm=[0, 1, 3, 2])
        shares = self._add("Softmax", [self._add("MatMul", [q, k], name + "logits")], axis=-1)
        mixed = self._add("MatMul", [shares, v], name + "mixed")
        mixed = self._add("Transpose", [mixed], perm=[0, 2, 1, 3])
        shape = self._ints([-1, 1 if tail else self.config.tokens, self.config.width])
        mixed = self._add("Reshape", [mixed, shape], name + "heads")
        proj = self._linear(mixed, name + "proj", *self._layer(key + "attn.proj"))
        return self._float(proj, name + "attended")

    def _query_key_value(self, x: str, key: str, name: str, tail: bool) -> list[str]:
        """Each (N, heads, T, D / heads); the query of a tail (N, heads, 1, D / heads)."""
        d, heads = self.config.width, self.config.heads
        weight, bias = fold_norm(self.weights, key + "norm1", key + "attn.qkv")
        scale = np.float32((d // heads) ** -0.5)
        weight[:, :d] *= scale
        bias[:d] *= scale
        first_token = self._first_token(x, name + "norm1/token") if tail else x
        sources = {"q": first_token, "k": x, "v": x}
        parts = []
        for index, (part, source) in enumerate(sources.items()):
            columns = slice(index * d, (index + 1) * d)
            product = self._linear(source, name + part, weight[:, columns], bias[columns])
            tokens = 1 if tail and part == "q" else self.config.tokens
            shape = self._ints([-1, tokens, heads, d // heads])
            product = self._add("Reshape", [product, shape])
            parts.append(self._add("Transpose", [product], perm=[0, 2, 1, 3]))
        return parts

    def _normalised_tokens(self, x: str, number: int, only_token: bool) -> str:
        """(N, H D): xhat of the H tokens that the head reads. x: (N, T, D), or (N, 1, D) of a tail."""
        name, d, h = f"exit{number}/", self.config.width, self.config.head_tokens
        if self.config.mode == "token" and not only_token:
            x = self._first_token(x, name + "token")
        return self._add("Reshape", [self._xhat(x, name + "xhat"), self._ints([-1, h * d])])

    def _score(self, xhat: str, number: int) -> str:
        """<a, xhat> + b in float32."""
        name = f"exit{number}/"
        a = self._constant("head/a", self.head.a.reshape(-1, 1))
        x = self._add("MatMul", [xhat, a], name + "dot")
        return self._add(
            "Add",
            [x, self._constant("head/b", np.array([self.head.b], np.float32))],
            name + "score",
        )

    def _causes(self, xhat: str, heads: CauseHeads) -> None:
        """xhat[:, 0] @ a + b in float32, where a segment ends: there a face can stop."""
        name = f"exit{self.segment.last}/causes"
        folded = fold_causes(heads, self.weights, self.segment.last)
        if self.config.head_tokens > 1:  # the quality token is the first of them
            ends = ([0], [self.config.width], [1])
            xhat = self._add("Slice", [xhat, *(self._ints(v) for v in ends)], name + "/xhat")
        x = self._add("MatMul", [xhat, self._constant(name + "/a", folded.a)], name + "/dot")
        self._add("Add", [x, self._constant(name + "/b", folded.b)], "causes")

    def _xhat(self, x: str, name: str) -> str:
        """Normalised tokens; the affine that follows lives in the next layer's weights."""
        ones = self._constant("ones", np.ones(self.config.width, np.float32))
        return self._add("LayerNormalization", [x, ones], name, epsilon=LN_EPS)

    def _first_token(self, x: str, name: str) -> str:
        return self._add("Slice", [x, *(self._ints(v) for v in ([0], [1], [1]))], name)

    def _layer(self, key: str) -> tuple[Array, Array]:
        return self.weights[key + ".weight"].T, self.weights[key + ".bias"]

    def _linear(self, x: str, name: str, weight: Array, bias: Array) -> str:
        x = self._matmul(x, name, weight)
        return self._add("Add", [x, self._half(name + ".bias", bias)], name + "/biased")

    def _matmul(self, x: str, name: str, weight: Array) -> str:
        if self.half is not None and not x.endswith(("relu6", "heads")):
            x = self._add("Cast", [x], to=self.half)
        return self._add("MatMul", [x, self._half(name + ".weight", weight)], name)

    # ---- nodes and constants

    def _add(self, op: str, inputs: list[str], out: str | None = None, **attributes: Any) -> str:
        out = out or f"{inputs[0]}/{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], out, **attributes))
        return out

    def _float(self, x: str, out: str) -> str:
        return x if self.half is None else self._add("Cast", [x], out, to=TensorProto.FLOAT)

    def _constant(self, name: str, value: np.ndarray | np.float32) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def _half(self, name: str, value: Array | float) -> str:
        """A constant in the graph's compute precision."""
        if self.half is None and self.half_weights and name.endswith(".weight"):
            return self._widened(name, value)
        if self.half is None:
            return self._constant(name, np.asarray(value, np.float32))
        name += "/half"
        if name not in self.constants:
            dtype = helper.tensor_dtype_to_np_dtype(self.half)
            array = np.ascontiguousarray(np.asarray(value, np.float32).astype(dtype))
            self.constants[name] = helper.make_tensor(
                name, self.half, array.shape, array.tobytes(), raw=True
            )
        return name

    def _widened(self, name: str, value: Array | float) -> str:
        """A float32 constant that is stored as float16."""
        stored = np.asarray(value).astype(np.float16)
        return self._add("Cast", [self._constant(name, stored)], name + "/wide", to=FLOAT)

    def _ints(self, values: list[int]) -> str:
        return self._constant(f"ints/{','.join(map(str, values))}", np.array(values, np.int64))
