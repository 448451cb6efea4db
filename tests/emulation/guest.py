"""What is computed on the processor under test: python guest.py INPUTS.npz RESULT.json BACKEND

Only what scoring itself needs is imported here, since an emulated processor is 20 times slower.
INPUTS: `faces` (N, 112, 112, 3), `picture` (H, W, 3) and the face's `points` (5, 2) in it.
RESULT: cpuinfo; the crop that is aligned here; scores of every shipped bundle on each engine.
"""

import json
import sys
import traceback
from pathlib import Path

import numpy as np

import edge_fiqa
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import open_engine
from edge_fiqa.errors import BackendMissing
from edge_fiqa.exits.route import route_to
from edge_fiqa.faces.align import align
from edge_fiqa.measurement.all_exits import all_exits, synthetic_faces

BACKENDS = ("ov", "ort")
SHIPPED = sorted(
    path.parent for path in Path(edge_fiqa.__file__).parent.glob("models/*/manifest.json")
)


def scores_of(bundle, backend, faces):
    """Raw scores of a golden face at every exit; for nano in INT8, what is chosen most, of all golden
    ones, of `faces`, and of one segment to exit 4."""
    golden = synthetic_faces(len(bundle.manifest.golden))
    is_chosen_most = bundle.folder.name == "nano-int8"
    with open_engine(bundle, backend, threads=1) as engine:
        scores = {"golden": all_exits(engine, golden if is_chosen_most else golden[:1]).tolist()}
        if is_chosen_most:
            scores["faces"] = all_exits(engine, faces).tolist()
            (tail,) = route_to(engine.segments, 4)
            scores["as one segment"] = engine.run(tail, golden[:1])[1][0].tolist()
        return scores


def computed(faces, picture, points, backends=BACKENDS):
    result = {
        "cpuinfo": Path("/proc/cpuinfo").read_text(encoding="utf-8"),
        "crop": align(picture, points).tolist(),
        "scores": {},
        "refused": {},
    }
    for folder in SHIPPED:
        bundle = Bundle.open(folder)
        for backend in backends:
            name = f"{folder.name} on {backend}"
            try:
                result["scores"][name] = scores_of(bundle, backend, faces)
            except BackendMissing as exc:
                result["refused"][name] = str(exc)
    return result


if __name__ == "__main__":
    inputs, target, backend = sys.argv[1:]
    try:
        with np.load(inputs) as arrays:
            result = computed(arrays["faces"], arrays["picture"], arrays["points"], [backend])
    except Exception:
        result = {"error": traceback.format_exc()}
    Path(target).write_text(json.dumps(result), encoding="utf-8")
