"""A CUDA graph of nested IFs: a part, then the next one inside a condition that the part before it set.

Through the driver library, with names that are exported since CUDA 12.4 (JetPack 6 has 12.6) and that
the headers of 13 map their short names to. No graph is captured while another one is, so one stream is
enough: a graph is made, its part captured into it, the IF added behind that, and its body is the next.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_int, c_longlong, c_size_t, c_uint, c_ulonglong, c_void_p
from typing import Any

from edge_fiqa.engines.trt_graph import THREAD_LOCAL, Graphs, declare, load_driver
from edge_fiqa.errors import EngineFailed

CONDITIONAL = 13  # CU_GRAPH_NODE_TYPE_CONDITIONAL
IF = 0  # CU_GRAPH_COND_TYPE_IF
ASSIGN_DEFAULT = 1  # CU_GRAPH_COND_ASSIGN_DEFAULT: at every launch

Part = Callable[[int], bool]
"""Enqueues one part, which sets the condition of this handle last; 0: none. False: refused."""

PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cuCtxGetCurrent": (POINTER(c_void_p),),
    "cuGraphCreate": (POINTER(c_void_p), c_uint),
    "cuGraphConditionalHandleCreate": (POINTER(c_ulonglong), c_void_p, c_void_p, c_uint, c_uint),
    "cuGraphAddNode_v2": (
        POINTER(c_void_p),
        c_void_p,
        POINTER(c_void_p),
        c_void_p,
        c_size_t,
        c_void_p,
    ),
    "cuStreamBeginCaptureToGraph": (c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_int),
    "cuStreamGetCaptureInfo_v3": (
        c_void_p,
        POINTER(c_int),
        POINTER(c_ulonglong),
        POINTER(c_void_p),
        POINTER(POINTER(c_void_p)),
        POINTER(c_void_p),
        POINTER(c_size_t),
    ),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
}


class ConditionalParams(ctypes.Structure):
    """CUDA_CONDITIONAL_NODE_PARAMS"""

    _fields_ = (
        ("handle", c_ulonglong),
        ("type", c_int),
        ("size", c_uint),
        ("phGraph_out", POINTER(c_void_p)),
        ("ctx", c_void_p),
    )


class _Params(ctypes.Union):
    _fields_ = (("reserved1", c_longlong * 29), ("conditional", ConditionalParams))


class NodeParams(ctypes.Structure):
    """CUgraphNodeParams"""

    _anonymous_ = ("params",)
    _fields_ = (
        ("type", c_int),
        ("reserved0", c_int * 3),
        ("params", _Params),
        ("reserved2", c_longlong),
    )


class Refused(EngineFailed):
    """This driver or these kernels make no conditional graph."""


class Invalidated(Refused):
    """A capture broke. Nothing says what becomes of the graph it went into: that is left alone."""


class Conditionals:
    """Builds conditional graphs on one stream. Raises Refused where the driver knows none."""

    def __init__(self, stream: int, graphs: Graphs, driver: Any = None) -> None:
        try:
            self._calls = declare(load_driver() if driver is None else driver, PROTOTYPES)
        except AttributeError as exc:
            raise Refused(f"conditional CUDA graphs need a driver of CUDA 12.4 ({exc})") from exc
        self._stream, self._graphs = c_void_p(stream), graphs
        self._context = c_void_p()
        self._must("cuCtxGetCurrent", byref(self._context))

    def build(self, parts: Sequence[Part]) -> tuple[c_void_p, c_void_p]:
        """parts[0], and each further one if the part before it ran and set its condition.

        Returns what `Graphs.launch` takes and the graph it was made of, which is kept as long: nothing
        says that conditions outlive the graphs they were made for. Raises Refused; the stream is
        usable afterwards.
        """
        root = c_void_p()
        self._must("cuGraphCreate", byref(root), 0)
        try:
            graph = root
            for part in parts[:-1]:
                handle = self._handle(graph)
                leaves = self._capture(graph, part, handle)
                graph = self._add_if(graph, handle, leaves)
            self._capture(graph, parts[-1], 0)
            executable = self._graphs.instantiate(root)
            if executable is None:
                raise Refused("the driver takes these kernels into no conditional CUDA graph")
        except Invalidated:
            raise
        except BaseException:
            self._graphs.drop(root)
            raise
        return executable, root

    def _handle(self, graph: c_void_p) -> int:
        """Of a condition for a node of this graph: false, unless a kernel sets it in this launch."""
        handle = c_ulonglong()
        self._must(
            "cuGraphConditionalHandleCreate",
            byref(handle),
            graph,
            self._context,
            0,
            ASSIGN_DEFAULT,
        )
        return handle.value

    def _capture(self, graph: c_void_p, part: Part, handle: int) -> list[int]:
        """Put a part into an empty graph; the nodes that nothing depends on yet."""
        self._must("cuStreamBeginCaptureToGraph", self._stream, graph, None, None, 0, THREAD_LOCAL)
        leaves: list[int] = []
        try:
            enqueued = part(handle)
            if enqueued:
                leaves = self._leaves()
        finally:
            ended = self._status("cuStreamEndCapture", self._stream, byref(c_void_p()))
        if ended:
            raise Invalidated(f"cuStreamEndCapture failed with CUDA error {ended}")
        if not enqueued:
            raise Refused("a segment cannot be captured into a conditional CUDA graph")
        return leaves

    def _leaves(self) -> list[int]:
        status, number, graph = c_int(), c_ulonglong(), c_void_p()
        nodes, edges, count = POINTER(c_void_p)(), c_void_p(), c_size_t()
        self._must(
            "cuStreamGetCaptureInfo_v3",
            self._stream,
            byref(status),
            byref(number),
            byref(graph),
            byref(nodes),
            byref(edges),
            byref(count),
        )
        return [nodes[i] or 0 for i in range(count.value)]

    def _add_if(self, graph: c_void_p, handle: int, leaves: list[int]) -> c_void_p:
        """An IF behind these nodes; its body, which belongs to it."""
        node, params = c_void_p(), NodeParams(type=CONDITIONAL)
        params.conditional = ConditionalParams(handle, IF, 1, None, self._context)
        self._must(
            "cuGraphAddNode_v2",
            byref(node),
            graph,
            (c_void_p * len(leaves))(*leaves),
            None,
            len(leaves),
            ctypes.cast(byref(params), c_void_p),
        )
        return c_void_p(params.conditional.phGraph_out[0])

    def _status(self, name: str, *arguments: Any) -> int:
        return int(self._calls[name](*arguments))

    def _must(self, name: str, *arguments: Any) -> None:
        if status := self._status(name, *arguments):
            raise Refused(f"{name} failed with CUDA error {status}")
