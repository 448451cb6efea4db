"""Five points of aligned faces by SCRFD, a detector that has taught nobody here (arXiv:2105.04714)."""

from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

from edge_fiqa.types import IMAGE, Array, Bytes

STRIDES, ANCHORS = (8, 16, 32), 2
MARGIN = 56  # pixels of drawn-out border; a side of 224 is a multiple of 32


class Points:
    """Of the face in the middle of a crop. model: det_500m.onnx."""

    def __init__(self, model: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # it was exported for one size, and says so
        self.session = ort.InferenceSession(str(model), options)

    def of(self, face: Bytes) -> Array | None:
        """(112, 112, 3) RGB -> (5, 2) points in its pixels; None without a face in the middle."""
        wide = cv2.copyMakeBorder(face, *(4 * (MARGIN,)), cv2.BORDER_REPLICATE)
        x = ((wide.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)[None]
        outputs = self.session.run(None, {"input.1": x})
        found = [
            self._best(*outputs[k :: len(STRIDES)], stride) for k, stride in enumerate(STRIDES)
        ]
        score, points = max(found, key=lambda each: each[0])
        points = points - MARGIN
        middle = np.abs(points.mean(0) - IMAGE / 2).max() < IMAGE / 4
        return points if score >= 0.5 and middle else None

    def _best(
        self, scores: Array, _boxes: Array, offsets: Array, stride: int
    ) -> tuple[float, Array]:
        """The score and points of the anchor with the highest score; offsets are in strides."""
        best = int(scores[:, 0].argmax())
        across = (IMAGE + 2 * MARGIN) // stride
        y, x = divmod(best // ANCHORS, across)
        points = stride * (offsets[best].reshape(5, 2) + np.array([x, y]))
        return float(scores[best, 0]), points
