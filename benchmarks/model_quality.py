"""What the default model's scores are worth: EDC on test faces, per exit, beside baselines.

    python benchmarks/model_quality.py DATA [--bundle DIR] [-o benchmarks/results/NAME.json]

Protocol fixed (arXiv:2303.13294), pAUC to a discard of 0.3 at FMR 1e-2 and 1e-3, thresholds set on
each list's own impostor pairs. Recognisers marked unseen taught the model nothing.
"""

import argparse
import csv
import json
from pathlib import Path

import cv2
import numpy as np

from edge_fiqa import Scorer
from edge_fiqa.evaluation.edc import edc_fixed, threshold_at_fmr
from edge_fiqa.fusion import fuse
from edge_fiqa.images import decode
from edge_fiqa.recognition import Recogniser

HALF = {"mean": (127.5,) * 3, "std": (128.0,) * 3}
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
RECOGNISERS = {
    "insightface_mobilefacenet_y1": {},
    "mobilefacenet_foamliu": IMAGENET,
    "mobilefacenet_casia_112x96": {**HALF, "columns": (8, 104)},
    "mobileface_id_v2": {},
}
UNSEEN = ("mobilefacenet_casia_112x96", "mobileface_id_v2")
LISTS = ("celeba10k_gen_test", "lfw_gen_test", "orl_gen_test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    rows = []
    for name in LISTS:
        with (options.data / f"pairs/{name}.csv").open(newline="", encoding="utf-8") as file:
            pairs = [(p["path_a"], p["path_b"], p["same"] == "1") for p in csv.DictReader(file)]
        paths = sorted({path for a, b, _ in pairs for path in (a, b)})
        index = {path: number for number, path in enumerate(paths)}
        a, b = (np.array([index[pair[side]] for pair in pairs]) for side in (0, 1))
        same = np.array([pair[2] for pair in pairs])
        faces = np.stack([decode(options.data / path) for path in paths])
        qualities = scores(faces, options)
        for recogniser, feeding in RECOGNISERS.items():
            path = options.data / f"models/{recogniser}.onnx"
            embedding = Recogniser(path=path, **feeding).embed(faces)
            similarity = (embedding[a] * embedding[b]).sum(1)
            for fmr in (1e-2, 1e-3):
                threshold = threshold_at_fmr(similarity[~same], fmr)
                row = {
                    "list": name,
                    "recogniser": recogniser,
                    "unseen": recogniser in UNSEEN,
                    "fmr": fmr,
                }
                row["pauc_e3"] = {
                    method: round(
                        1e3
                        * edc_fixed(similarity[same], np.minimum(q[a], q[b])[same], threshold).pauc(
                            0.3
                        ),
                        3,
                    )
                    for method, q in qualities.items()
                }
                row["fnmr_pct"] = round(100 * float((similarity[same] < threshold).mean()), 2)
                rows.append(row)
                print(name, recogniser, fmr, row["fnmr_pct"], row["pauc_e3"], flush=True)
    methods = rows[0]["pauc_e3"]
    mean = {
        f"{kind} fmr {fmr:g}": {
            m: round(
                float(
                    np.mean(
                        [r["pauc_e3"][m] for r in rows if r["fmr"] == fmr and r["unseen"] == unseen]
                    )
                ),
                3,
            )
            for m in methods
        }
        for fmr in (1e-2, 1e-3)
        for kind, unseen in (("unseen", True), ("teachers", False))
    }
    result = {"limit": 0.3, "unit": "pAUC x 1e-3, lower is better", "mean": mean, "rows": rows}
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"mean": mean}))


def scores(faces: np.ndarray, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Quality of every face by each method, higher is better."""
    with Scorer.open(options.bundle) as scorer:
        trail = np.concatenate([scorer.assess(faces[i : i + 1]).trail for i in range(len(faces))])
    found = {f"exit {k + 1}": trail[:, k] for k in range(trail.shape[1])}
    found |= {rule: fuse(trail, trail.shape[1], rule) for rule in ("F", "FW")}
    found["random"] = np.random.default_rng(0).random(len(faces))
    grey = [cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) for face in faces]
    found["sharpness"] = np.array([cv2.Laplacian(g, cv2.CV_64F).var() for g in grey])
    for size in ("100", "050", "025"):
        found[f"LightQNet {size}"] = lightqnet(
            options.data / f"models/lightqnet_dm{size}.onnx", faces
        )
    return found


def lightqnet(model: Path, faces: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    small = np.stack([cv2.resize(face, (96, 96)) for face in faces])[..., ::-1]
    x = ((small.astype(np.float32) - 128) / 128).transpose(0, 3, 1, 2)
    batches = [np.ascontiguousarray(x[i : i + 64]) for i in range(0, len(x), 64)]
    return np.concatenate([session.run(None, {"input": batch})[0][:, 0] for batch in batches])


if __name__ == "__main__":
    main()
