"""Face quality by other means, for comparison: hand-made measures and the LightQNet networks."""

from pathlib import Path

import cv2
import numpy as np

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
HAND_MADE = ("random", "sharpness", "brightness", "contrast", "embedding norm")
LIGHTQNET = ("LightQNet 100", "LightQNet 050", "LightQNet 025")


def hand_made(faces: np.ndarray) -> dict[str, np.ndarray]:
    """Higher is better: variance of the Laplacian, mean and deviation of grey."""
    grey = [cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) for face in faces]
    return {
        "random": np.random.default_rng(0).random(len(faces)),
        "sharpness": np.array([cv2.Laplacian(g, cv2.CV_64F).var() for g in grey]),
        "brightness": np.array([g.mean() for g in grey]),
        "contrast": np.array([g.std() for g in grey]),
    }


def lightqnets(models: Path, faces: np.ndarray) -> dict[str, np.ndarray]:
    """The three published networks, fed as they were trained: 96x96, BGR, (x - 128) / 128."""
    import onnxruntime

    small = np.stack([cv2.resize(face, (96, 96)) for face in faces])[..., ::-1]
    found = {}
    for name in LIGHTQNET:
        path = models / f"lightqnet_dm{name.split()[-1]}.onnx"
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        scores = []
        for start in range(0, len(small), 64):
            x = ((small[start : start + 64].astype(np.float32) - 128) / 128).transpose(0, 3, 1, 2)
            scores.append(session.run(None, {"input": np.ascontiguousarray(x)})[0][:, 0])
        found[name] = np.concatenate(scores)
    return found
