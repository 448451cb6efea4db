"""Graphs of the made-up driver: captures, conditional nodes, and the kernel that sets conditions."""

import ctypes

import numpy as np

INVALID, NOT_SUPPORTED, INVALIDATED = 1, 801, 901
CONTEXT = 0xC0DE00
BASIC = {
    "cuInit": 1, "cuStreamBeginCapture_v2": 2, "cuStreamEndCapture": 2, "cuGraphUpload": 2,
    "cuGraphInstantiateWithFlags": 3, "cuGraphLaunch": 2, "cuGraphExecDestroy": 1,
    "cuGraphDestroy": 1, "cuCtxGetCurrent": 1, "cuGraphCreate": 2,
}  # fmt: skip
SINCE_12_4 = {
    "cuGraphConditionalHandleCreate": 5, "cuGraphAddNode_v2": 6, "cuStreamBeginCaptureToGraph": 6,
    "cuStreamGetCaptureInfo_v3": 7,
}  # fmt: skip


class Graph:
    """Nodes in the order of their dependencies: each is enqueued behind all before it."""

    def __init__(self, world):
        self.world, self.number = world, world.number()
        self.work = []
        self.owner = self.parent = None  # of a body: its conditional node, and that one's graph

    def within(self, number):
        """Is it that graph, or a body somewhere in it?"""
        return self.number == number or (self.parent is not None and self.parent.within(number))

    def snapshot(self):
        """What is instantiated: later changes do not reach it."""
        copy = Graph(self.world)
        copy.number, copy.parent = self.number, self.parent  # what its conditions belong to
        copy.work = [node.snapshot() if isinstance(node, If) else node for node in self.work]
        return copy

    def run(self):
        self.world.running.append(self)
        try:
            for node in self.work:
                node()
        finally:
            self.world.running.pop()

    def bodies(self):
        for node in self.work:
            if isinstance(node, If):
                yield node.body
                yield from node.body.bodies()


class If:
    def __init__(self, handle, body):
        self.handle, self.body = handle, body

    def snapshot(self):
        return If(self.handle, self.body.snapshot())

    def __call__(self):
        world = self.body.world
        go = world.conditions[self.handle]["value"]
        if {"always": True, "never": False}.get(world.conditional, go):
            self.body.run()


def decide(world, control, scores, ran, handle, step):
    """decide.cu, line by line. numpy's view of its structs is that of the engine."""
    from edge_fiqa.engines.trt_until import CONTROL

    known = world.view(control, CONTROL.itemsize).view(CONTROL)[0]
    going = False
    if handle:
        going = any(
            face_goes_on(known, face, step, lambda at: world.view(scores + 4 * at, 4))
            for face in range(min(int(known["faces"]), 64))
        )
    world.view(ran, 4).view(np.uint32)[0] = step + 1
    if handle:
        condition = world.conditions.get(handle)
        if condition is None or not any(g.within(condition["graph"]) for g in world.running):
            raise AssertionError("a condition is set by a kernel of its graph")
        condition["value"] = going


def face_goes_on(control, face, step, score_at):
    decision, fused, finite = control["decision"][step], 0.0, True
    for number in range(int(decision["exits"])):
        place = control["place"][number]
        score = score_at(int(place["at"]) + face * int(place["stride"])).view(np.float32)[0]
        finite = finite and bool(np.isfinite(score))
        fused += float(decision["weight"][number]) * float(score)
    return finite and not (
        np.float32(fused) < decision["low"] or np.float32(fused) > decision["high"]
    )


class Driver:
    """Functions of libcuda, unbound. world.conditional:

    yes; old: a driver before 12.4 lacks the functions; unlinked: the kernel does not load; node: no
    such node; invalidated: a capture into a body breaks; instantiate: these kernels may not stand in a
    body; launch: it fails; always, never: the condition is not obeyed.
    """

    def __init__(self, world):
        self._world = world
        if not hasattr(world, "running"):
            world.running, world.conditions, world.nodes, world.kept = [], {}, {}, []

    def functions(self):
        return BASIC if self._world.conditional == "old" else {**BASIC, **SINCE_12_4}

    def _new(self):
        graph = Graph(self._world)
        self._world.graphs[graph.number] = graph
        return graph

    def _find(self, graph):
        """A graph that may be added to: not one that was instantiated."""
        found = self._world.graphs.get(graph.value)
        found = found or self._world.nodes.get(graph.value)
        assert isinstance(found, Graph), "not a graph"
        assert not getattr(found, "executable", False), "an executable graph takes no nodes"
        return found

    def _cuCtxGetCurrent(self, context):  # noqa: N802
        context._obj.value = CONTEXT if self._world.stack else None
        return 0

    def _cuGraphCreate(self, graph, flags):  # noqa: N802
        if flags:
            return INVALID
        graph._obj.value = self._new().number
        return 0

    def _cuStreamBeginCapture_v2(self, stream, mode):  # noqa: N802
        return self._begin(stream, self._new(), mode)

    def _cuStreamBeginCaptureToGraph(self, stream, graph, nodes, edges, count, mode):  # noqa: N802
        found = self._find(graph)
        assert not found.work or count, "these nodes would run beside the ones that are there"
        return self._begin(stream, found, mode)

    def _begin(self, stream, graph, mode):
        queue = self._world.streams[stream.value]
        if queue.capture is not None or mode != 1:
            return INVALID
        assert not queue.work, "unfinished work before a capture is flushed first"
        queue.capture, queue.graph = graph.work, graph
        return 0

    def _cuStreamGetCaptureInfo_v3(  # noqa: N802
        self, stream, status, number, graph, nodes, edges, count
    ):
        queue = self._world.streams[stream.value]
        status._obj.value = int(queue.capture is not None)
        if queue.capture is None:
            return 0
        number._obj.value, graph._obj.value = 1, queue.graph.number
        leaves = [self._node(queue.graph, len(queue.capture) - 1)] if queue.capture else []
        array = (ctypes.c_void_p * len(leaves))(*leaves)
        self._world.kept.append(array)
        nodes._obj.contents = ctypes.cast(array, ctypes.POINTER(ctypes.c_void_p)).contents
        count._obj.value = len(leaves)
        return 0

    def _node(self, graph, place):
        number = self._world.number()
        self._world.nodes[number] = (graph, place)
        return number

    def _cuStreamEndCapture(self, stream, graph):  # noqa: N802
        queue = self._world.streams[stream.value]
        queue.capture = None
        if self._world.conditional == "invalidated" and queue.graph.owner is not None:
            graph._obj.value = None
            return INVALIDATED
        graph._obj.value = queue.graph.number
        return 0

    def _cuGraphConditionalHandleCreate(self, handle, graph, context, default, flags):  # noqa: N802
        if context.value != CONTEXT or flags not in (0, 1):
            return INVALID
        number = self._world.number() << 32  # 64 bits: half of one is no handle
        self._world.conditions[number] = {
            "graph": self._find(graph).number, "value": default, "default": default, "flags": flags,
            "used": False,
        }  # fmt: skip
        handle._obj.value = number
        return 0

    def _cuGraphAddNode_v2(self, node, graph, nodes, edges, count, params):  # noqa: N802
        from edge_fiqa.engines.trt_conditional import NodeParams

        if self._world.conditional == "node":
            return NOT_SUPPORTED
        found = self._find(graph)
        given = ctypes.cast(params, ctypes.POINTER(NodeParams)).contents
        if any(queue.capture is not None for queue in self._world.streams.values()):
            return INVALID
        wanted = given.conditional
        condition = self._world.conditions.get(wanted.handle)
        ordinary = (given.type, wanted.type, wanted.size, wanted.ctx) == (13, 0, 1, CONTEXT)
        if not ordinary or list(given.reserved0) != [0, 0, 0] or given.reserved2:
            return INVALID
        if condition is None or not found.within(condition["graph"]) or condition["used"]:
            return INVALID
        behind = [self._world.nodes[nodes[i]] for i in range(count)]
        assert behind == [(found, len(found.work) - 1)], "behind the kernel that sets it, last"
        condition["used"] = True
        body = Graph(self._world)
        body.owner, body.parent = wanted.handle, found
        self._world.nodes[body.number] = body
        array = (ctypes.c_void_p * 1)(body.number)
        self._world.kept.append(array)
        wanted.phGraph_out = ctypes.cast(array, ctypes.POINTER(ctypes.c_void_p))
        found.work.append(If(wanted.handle, body))
        node._obj.value = self._node(found, len(found.work) - 1)
        return 0

    def _cuGraphInstantiateWithFlags(self, executable, graph, flags):  # noqa: N802
        found = self._find(graph)
        conditional = next(found.bodies(), None) is not None
        if conditional and self._world.conditional == "instantiate":
            return NOT_SUPPORTED
        conditions = self._world.conditions.values()
        if any(c["graph"] == found.number and not c["used"] for c in conditions):
            return INVALID
        copy = found.snapshot()
        copy.executable = True
        number = self._world.number()
        self._world.graphs[number] = copy
        executable._obj.value = number
        return 0

    def _cuGraphUpload(self, executable, stream):  # noqa: N802
        return 0

    def _cuGraphLaunch(self, executable, stream):  # noqa: N802
        world, graph = self._world, self._world.graphs[executable.value]
        assert graph.executable
        conditional = next(graph.bodies(), None) is not None
        if conditional and world.conditional == "launch":
            return NOT_SUPPORTED

        def run():
            for condition in world.conditions.values():
                if condition["flags"]:
                    condition["value"] = condition["default"]
            graph.run()

        world.streams[stream.value].add(run)
        world.events.append("until" if conditional else "graph")
        return 0

    def _cuGraphExecDestroy(self, executable):  # noqa: N802
        assert self._world.graphs.pop(executable.value).executable
        return 0

    def _cuGraphDestroy(self, graph):  # noqa: N802
        found = self._find(graph)
        assert found.owner is None, "a body belongs to its node"
        del self._world.graphs[graph.value]
        return 0
