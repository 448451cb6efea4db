"""CUDA graphs of the made-up driver: what a stream was asked for while it captured, to be repeated."""

INVALID = 1
FUNCTIONS = {
    "cuInit": 1, "cuStreamBeginCapture_v2": 2, "cuStreamEndCapture": 2, "cuGraphUpload": 2,
    "cuGraphInstantiateWithFlags": 3, "cuGraphLaunch": 2, "cuGraphExecDestroy": 1,
    "cuGraphDestroy": 1,
}  # fmt: skip
"""How many arguments each takes."""


class Graph:
    def __init__(self, work, executable=False):
        self.work, self.executable = work, executable


class Driver:
    """Functions of libcuda, unbound."""

    def __init__(self, world):
        self._world = world

    def _keep(self, graph):
        number = self._world.number()
        self._world.graphs[number] = graph
        return number

    def _cuStreamBeginCapture_v2(self, stream, mode):  # noqa: N802
        queue = self._world.streams[stream.value]
        if queue.capture is not None or mode != 1:
            return INVALID
        assert not queue.work, "unfinished work before a capture is flushed first"
        queue.capture = []
        return 0

    def _cuStreamEndCapture(self, stream, graph):  # noqa: N802
        queue = self._world.streams[stream.value]
        graph._obj.value = self._keep(Graph(queue.capture))
        queue.capture = None
        return 0

    def _cuGraphInstantiateWithFlags(self, executable, graph, flags):  # noqa: N802
        captured = self._world.graphs[graph.value]
        assert not captured.executable
        executable._obj.value = self._keep(Graph(list(captured.work), executable=True))
        return 0

    def _cuGraphUpload(self, executable, stream):  # noqa: N802
        return 0

    def _cuGraphLaunch(self, executable, stream):  # noqa: N802
        graph = self._world.graphs[executable.value]
        assert graph.executable
        self._world.streams[stream.value].add(lambda: [operation() for operation in graph.work])
        self._world.events.append("graph")
        return 0

    def _cuGraphExecDestroy(self, executable):  # noqa: N802
        assert self._world.graphs.pop(executable.value).executable
        return 0

    def _cuGraphDestroy(self, graph):  # noqa: N802
        assert not self._world.graphs.pop(graph.value).executable
        return 0
