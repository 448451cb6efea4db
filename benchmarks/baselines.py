"""Face quality by other means, for comparison: hand-made measures and the LightQNet networks."""

from pathlib import Path

import cv2
import numpy as np

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
    scores_of = {}
    for name in LIGHTQNET:
        path = models / f"lightqnet_dm{name.split()[-1]}.onnx"
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        scores = []
        for start in range(0, len(small), 64):
            x = ((small[start : start + 64].astype(np.float32) - 128) / 128).transpose(0, 3, 1, 2)
            scores.append(session.run(None, {"input": np.ascontiguousarray(x)})[0][:, 0])
        scores_of[name] = np.concatenate(scores)
    return scores_of
