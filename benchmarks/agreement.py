"""Does 73 mean 73 everywhere? The 0-100 quality on every backend and precision beside torch float32.

    python benchmarks/agreement.py FACES --checkpoint nano=FILE -o RESULT.json

FACES: of calibration/faces.py. Every bundle is built anew, INT8 with the layers in float that the
recipe of that name leaves. Its scores go through one calibration, made from the float32 scores.
Printed: the share of faces whose quality differs by one point at most.
"""

import tempfile
from pathlib import Path

import numpy as np
from common import add_named, new_result, parser, write_result
from msgspec import structs

from edge_fiqa.build.builder import build_bundle
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.calibration.fit import fit_calibration
from edge_fiqa.cli.face_folder import read_faces
from edge_fiqa.config import BuildRecipe, load_recipe
from edge_fiqa.engines import open_engine
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.measurement.all_exits import all_exits

RECIPES = Path(__file__).parents[1] / "engines/recipes/ov"
WITHIN = "share within one point of torch fp32"
RUNS = {  # how the bundle is built, and on which backends it runs
    "fp32": ({"backend": "pt"}, ("pt", "ov", "ort")),
    "fp16": ({"backend": "ov", "precision": "fp16"}, ("ov", "ort")),
    "bf16": ({"backend": "ov", "precision": "bf16"}, ("ov",)),
    "int8": ({"backend": "ov", "precision": "int8"}, ("ov", "ort")),
}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("faces", type=Path)
    add_named(arguments, "--checkpoint")
    arguments.add_argument("--limit", type=int, default=1000)
    options = arguments.parse_args()
    faces = read_faces(options.faces, options.limit, "agreement")
    shipped = {
        name: load_recipe(RECIPES / f"{name}-int8.yaml", {}, BuildRecipe)
        for name, _ in options.checkpoint
    }
    shares: dict[str, dict[str, float]] = {}
    result = new_result(__doc__) | {"faces": len(faces.crops), WITHIN: shares}
    for name, file in options.checkpoint:
        qualities = {}
        with tempfile.TemporaryDirectory() as place:
            for precision, (stated, backends) in RUNS.items():
                recipe = BuildRecipe(segments="1", accept_imprecise=True, **stated)
                if precision == "int8":
                    recipe = structs.replace(recipe, float_layers=shipped[name].float_layers)
                bundle = build_bundle(Path(file), Path(place) / precision, recipe, faces=faces)
                for backend in backends:
                    with open_engine(bundle, backend) as engine:
                        trail = all_exits(engine, faces.crops)
                    if not qualities:
                        estimator = Estimator.of(calibrate(bundle, trail, faces), "FW")
                    qualities[f"{precision} on {backend}"] = np.stack(
                        [
                            estimator.qualities(fuse(trail, k), np.full(len(trail), k)).quality
                            for k in range(1, trail.shape[1] + 1)
                        ]
                    )
        reference = qualities["fp32 on pt"]
        for run, quality in qualities.items():
            share = (np.abs(quality - reference) <= 1).mean(axis=1).round(4)
            shares[f"{name}, {run}"] = {
                f"exit {k}": float(share[k - 1]) for k in (1, 2, 4, 6, 9, 12) if k <= len(share)
            }
            print(name, run, share.tolist(), flush=True)
    write_result(result, options.output)


def calibrate(bundle, trail, faces):
    return fit_calibration(
        trail,
        faces.groups,
        model="m",
        fingerprint=bundle.manifest.fingerprint,
        exits=bundle.manifest.exits,
        images="benchmark",
        fusions=["FW"],
    )


if __name__ == "__main__":
    main()
