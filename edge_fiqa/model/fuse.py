"""A segment's graph in the form of which NVIDIA's builder makes the fewest kernels.

The files of a bundle serve every engine. When a plan is built, the graph is changed by three rules:

- *Attention in float16*, in blocks of INT8: query, key and value are cast, and what attention gives is
  cast back. Only in 16 bits is it one kernel. The casts lie outside the pairs of QuantizeLinear and
  DequantizeLinear: the builder for compute capability 8.7 refuses them inside (NVIDIA/TensorRT#4832).
- *Heads together*: query, key and value are brought into heads by one kernel instead of three.
- *Scores together*: the scores of all blocks of a segment come from one normalisation, and what else
  reads a block's normalised token gets its part of it.

The last two are exact algebra. What does not fit a rule stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PARTS = ("q", "k", "v")
TYPELESS = {"MatMul", "Reshape", "Softmax", "Transpose"}
"""Operators that compute in whatever type comes in, and have no constants of another."""


def fuse(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, changed in place. Large constants may lie in another file, and are not read."""
    graph = _Graph(model.graph)
    for block in graph.blocks():
        if graph.computes_in_int8(block):
            _halve_attention(graph, block)
        _bring_into_heads_together(graph, block)
    _score_together(graph)
    graph.write()
    return model


def _halve_attention(graph: _Graph, block: str) -> None:
    entries = [f"{block}/{part}/biased" for part in PARTS]
    mixed = f"{block}/heads"
    between = graph.between(entries, mixed)
    if between is None or {node.op_type for node in between} - TYPELESS:
        return
    for value in entries:
        graph.cast(value, TensorProto.FLOAT16)
    graph.cast(mixed, TensorProto.FLOAT)


def _bring_into_heads_together(graph: _Graph, block: str) -> None:
    """Of a body query, key and value; of a tail, whose query is of one token, key and value."""
    steps = {}
    for part in PARTS:
        reshape = graph.only_reader(f"{block}/{part}/biased", "Reshape")
        transpose = reshape and graph.only_reader(reshape.output[0], "Transpose")
        if reshape is None or transpose is None or _ints(transpose, "perm") != [0, 2, 1, 3]:
            return
        steps[part] = (reshape, transpose)
    shape = steps["k"][0].input[1]
    parts = [part for part in PARTS if steps[part][0].input[1] == shape]
    faces, tokens, *heads = graph.constant(shape).tolist()
    together = f"{block}/{''.join(parts)}"
    graph.add("Concat", [steps[part][0].input[0] for part in parts], together, axis=2)
    split = graph.ints([faces, tokens, len(parts), *heads])
    graph.add("Reshape", [together, split], f"{together}/split")
    graph.add("Transpose", [f"{together}/split"], f"{together}/heads", perm=[2, 0, 3, 1, 4])
    for index, part in enumerate(parts):
        reshape, transpose = steps[part]
        graph.remove([reshape, transpose])
        graph.add("Gather", [f"{together}/heads", graph.ints(index)], transpose.output[0], axis=0)


def _score_together(graph: _Graph) -> None:
    """Where each score is of one token: <a, xhat> + b of all of them at once."""
    scores = graph.producer("scores", "Concat")
    chains = [graph.chain_to(value, SCORE_STEPS) for value in scores.input] if scores else []
    if scores is None or None in chains:
        return
    norms, reshapes, dots, sums = zip(
        *(chain for chain in chains if chain is not None), strict=True
    )
    weight, scale = dots[0].input[1], norms[0].input[1]
    if graph.dims(weight)[0] != graph.dims(scale)[0]:
        return  # a score reads all tokens of its block
    constants = {
        (n.input[1], d.input[1], s.input[1]) for n, d, s in zip(norms, dots, sums, strict=True)
    }
    if len(constants) > 1:
        return  # heads of their own
    graph.remove([scores, *(node for chain in chains if chain is not None for node in chain)])
    graph.add("Concat", [norm.input[0] for norm in norms], "exits/tokens", axis=1)
    epsilon = next(a.f for a in norms[0].attribute if a.name == "epsilon")
    graph.add("LayerNormalization", ["exits/tokens", scale], "exits/xhat", epsilon=epsilon)
    for row, reshape in enumerate(reshapes):
        if graph.readers(reshape.output[0]):  # the logits of causes
            graph.add("Gather", ["exits/xhat", graph.ints(row)], reshape.output[0], axis=1)
    graph.add("Reshape", [weight, graph.ints([1, 1, -1])], "exits/a")
    graph.add("Mul", ["exits/xhat", "exits/a"], "exits/products")
    graph.add("ReduceSum", ["exits/products", graph.ints([2])], "exits/dot", keepdims=0)
    graph.add("Add", ["exits/dot", sums[0].input[1]], "scores")


SCORE_STEPS = ("LayerNormalization", "Reshape", "MatMul", "Add")


class _Graph:
    """The nodes of a graph by what they give and take. Nothing is changed before `write`."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._nodes = list(graph.node)
        self._constants = {tensor.name: tensor for tensor in graph.initializer}

    def blocks(self) -> list[str]:
        """The names of those that it computes, as in `block3`."""
        return [node.name.split("/")[0] for node in self._nodes if node.name.endswith("/logits")]

    def computes_in_int8(self, block: str) -> bool:
        """Whether its queries are products of quantised values: recipes may leave a block in float."""
        product = self.producer(f"{block}/q", "MatMul")
        return product is not None and bool(self.producer(product.input[0], "DequantizeLinear"))

    def producer(self, value: str, operator: str) -> onnx.NodeProto | None:
        """The node that gives the value, if it is of this operator."""
        nodes = [node for node in self._nodes if value in node.output]
        return nodes[0] if nodes and nodes[0].op_type == operator else None

    def readers(self, value: str) -> list[onnx.NodeProto]:
        return [node for node in self._nodes if value in node.input]

    def only_reader(self, value: str, operator: str) -> onnx.NodeProto | None:
        """The node that reads the value, if it is one, and of this operator."""
        nodes = self.readers(value)
        return nodes[0] if len(nodes) == 1 and nodes[0].op_type == operator else None

    def between(self, entries: Iterable[str], end: str) -> list[onnx.NodeProto] | None:
        """All nodes that compute with these values, up to `end`; None if it is not among them."""
        nodes: dict[str, onnx.NodeProto] = {}
        values = list(entries)
        while values:
            for node in self.readers(values.pop()):
                if node.output[0] not in nodes:
                    nodes[node.output[0]] = node
                    values += [value for value in node.output if value != end]
        return list(nodes.values()) if end in nodes else None

    def chain_to(self, value: str, operators: tuple[str, ...]) -> list[onnx.NodeProto] | None:
        """The nodes of these operators, each reading the one before it, whose last gives the value."""
        chain: list[onnx.NodeProto] = []
        for operator in reversed(operators):
            node = self.producer(value, operator)
            if node is None:
                return None
            chain.insert(0, node)
            value = node.input[0]
        return chain

    def constant(self, name: str) -> np.ndarray:
        """A small one, which stands in the graph."""
        return np.asarray(numpy_helper.to_array(self._constants[name]))

    def dims(self, name: str) -> list[int]:
        return list(self._constants[name].dims)

    def ints(self, value: list[int] | int) -> str:
        """The name of an integer constant, which is added where it is missing."""
        name = f"fused/{value}".replace(" ", "")
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.array(value, np.int64), name)
        return name

    def cast(self, value: str, kind: int) -> None:
        """Its readers get the value in this type."""
        (node,) = [node for node in self._nodes if value in node.output]
        node.name = node.output[0] = f"{value}/uncast"
        self.add("Cast", [node.output[0]], value, to=kind)

    def add(self, operator: str, inputs: list[str], out: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(operator, inputs, [out], out, **attributes))

    def remove(self, nodes: Iterable[onnx.NodeProto]) -> None:
        outputs = {node.output[0] for node in nodes}
        self._nodes = [node for node in self._nodes if node.output[0] not in outputs]

    def write(self) -> None:
        """Put the nodes back, each behind those whose values it reads."""
        known = {"", *self._constants, *(value.name for value in self._graph.input)}
        ordered: list[onnx.NodeProto] = []
        waiting = self._nodes
        while waiting:
            ready = [node for node in waiting if known.issuperset(node.input)]
            assert ready, "the graph has a cycle"
            ordered += ready
            known.update(value for node in ready for value in node.output)
            waiting = [node for node in waiting if not known.issuperset(node.output)]
        read = {value for node in ordered for value in node.input}
        constants = [tensor for tensor in self._constants.values() if tensor.name in read]
        del self._graph.node[:], self._graph.initializer[:]
        del self._graph.value_info[:]  # types and shapes, which INT8 files of earlier versions hold
        self._graph.node.extend(ordered)
        self._graph.initializer.extend(constants)


def _ints(node: onnx.NodeProto, name: str) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == name), [])
