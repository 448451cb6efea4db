"""NVIDIA's own parser and builder, those of TensorRT for RTX, wherever they are installed.

They need no GPU. They judge what the made-up library is given: only execution is made up then.
"""

import functools
import hashlib
import threading
from pathlib import Path

PHASES_FILE = Path(__file__).parents[1] / "trt_api/phases.json"


@functools.cache
def library():
    """The real bindings, or None."""
    try:
        import tensorrt_rtx_libs  # noqa: F401  (loads what the bindings need)
        import tensorrt_rtx_bindings as module  # isort: skip
    except ImportError:
        return None
    return module


@functools.cache
def _parts():
    real = library()

    class Logger(real.ILogger):
        def __init__(self):
            real.ILogger.__init__(self)
            self.errors, self.warnings, self.texts = [], [], []

        def log(self, severity, msg):
            self.texts.append(msg)
            if severity in (real.ILogger.Severity.ERROR, real.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(msg)
            elif severity == real.ILogger.Severity.WARNING:
                self.warnings.append(msg)

    logger = Logger()
    return real, logger, real.Builder(logger)


LOCK = threading.Lock()


def _parse(path, graph=None):
    """graph: the bytes that stand for the file, of which then only the place counts."""
    real, logger, builder = _parts()
    network = builder.create_network(1 << int(real.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = real.OnnxParser(network, logger)
    if graph is not None:
        return parser.parse(graph, str(path)), network, parser
    return parser.parse_from_file(str(path)), network, parser


def parsed(path, graph=None):
    """(taken, [(desc, node, name, operator)], errors in the log) of the real parser."""
    with LOCK:
        _, logger, _ = _parts()
        logger.errors.clear()
        taken, _, parser = _parse(path, graph)
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        rows = [(e.desc(), e.node(), e.node_name(), e.node_operator()) for e in errors]
        return taken, rows, list(logger.errors)


VERDICTS = {}


def refused(path, graph, shapes, workspace):
    """Errors of the real builder, [] where it builds a plan. The same question is asked once.

    shapes: (min, opt, max) of the one input. workspace: bytes, or None.
    """
    weights = Path(path).with_name("weights.bin")
    content = [graph, *(p.read_bytes() for p in (Path(path), weights) if p.exists())]
    key = (*(hashlib.sha256(data or b"").digest() for data in content), shapes, workspace)
    if key not in VERDICTS:
        with LOCK:
            VERDICTS[key] = _refused(path, graph, shapes, workspace)
    return VERDICTS[key]


def _refused(path, graph, shapes, workspace):
    real, logger, builder = _parts()
    _, network, parser = _parse(path, graph)
    config = builder.create_builder_config()
    if workspace is not None:
        config.set_memory_pool_limit(real.MemoryPoolType.WORKSPACE, workspace)
    source = network.get_input(0)
    if len(set(shapes)) == 1:
        source.shape = shapes[0]
    else:
        profile = builder.create_optimization_profile()
        profile.set_shape(source.name, *shapes)
        config.add_optimization_profile(profile)
    logger.errors.clear()
    plan = builder.build_serialized_network(network, config)
    del parser
    return [] if plan is not None else list(logger.errors)
