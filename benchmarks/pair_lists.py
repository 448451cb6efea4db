"""The test lists of pairs, the recognisers that compare them, and pAUC as the scripts report it."""

import csv
from pathlib import Path

import numpy as np
from common import read_faces

from edge_fiqa.evaluation.bootstrap import interval
from edge_fiqa.evaluation.edc import edc_fixed
from edge_fiqa.evaluation.recognition import Recogniser

HALF = {"mean": (127.5,) * 3, "std": (128.0,) * 3}
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
RECOGNISERS = {
    "insightface_mobilefacenet_y1": {},
    "mobilefacenet_foamliu": IMAGENET,
    "mobilefacenet_casia_112x96": {**HALF, "columns": (8, 104)},
    "mobileface_id_v2": {},
    "edgeface_xs": {"mean": (127.5,) * 3, "std": (127.5,) * 3},
}
UNSEEN = ("mobilefacenet_casia_112x96", "mobileface_id_v2")  # taught the models nothing
LISTS = ("celeba10k_gen_test", "celeba5_gen_test", "lfw_gen_test", "orl_gen_test")
LIMIT = 0.3  # discard up to which pAUC is taken


def recogniser(data: Path, name: str) -> Recogniser:
    return Recogniser(path=data / f"models/{name}.onnx", **RECOGNISERS[name])


def read_list(data: Path, name: str) -> tuple[np.ndarray, ...]:
    """Faces (N, 112, 112, 3); of every pair the rows of its two faces, and whether they are of one
    person; of every genuine pair the person."""
    paths, a, b, same = read_pairs(data, name)
    identity = np.array([str(Path(paths[row]).parent) for row in a[same]])
    return read_faces(data, paths), a, b, same, identity


def read_pairs(data: Path, name: str) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Paths of the N faces, sorted; of every pair the rows of its two faces, and whether they are of
    one person."""
    with (data / f"pairs/{name}.csv").open(newline="", encoding="utf-8") as file:
        pairs = [(p["path_a"], p["path_b"], p["same"] == "1") for p in csv.DictReader(file)]
    paths = sorted({path for a, b, _ in pairs for path in (a, b)})
    index = {path: number for number, path in enumerate(paths)}
    a, b = (np.array([index[pair[side]] for pair in pairs]) for side in (0, 1))
    return paths, a, b, np.array([pair[2] for pair in pairs])


def compare(
    embedding: np.ndarray, a: np.ndarray, b: np.ndarray, same: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cosine similarities of the mated and of the non-mated pairs, embeddings (N, D) of length 1."""
    similarity = (embedding[a] * embedding[b]).sum(1)
    return similarity[same], similarity[~same]


def mean_ratio(
    ours: list[float], others: list[float], drawn: list[np.ndarray], drawn_others: list[np.ndarray]
) -> list[float] | None:
    """Mean over lists and recognisers of ours / others, and its interval of 95 % from resamples (R,).

    None where one of `others` is 0. Resamples in which no pair fails are left out.
    """
    if not all(others):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.mean(np.divide(drawn, drawn_others), axis=0)
    ratios = ratios[np.isfinite(ratios)]
    if not ratios.size:
        return None
    value = float(np.mean(np.divide(ours, others)))
    return [round(number, 3) for number in (value, *interval(ratios))]


def pauc(genuine: np.ndarray, quality: np.ndarray, threshold: float) -> float:
    """pAUC x 1e-3 of mated pairs (P,) and their qualities (P,); lower is better."""
    return 1e3 * edc_fixed(genuine, quality, threshold).pauc(LIMIT)
