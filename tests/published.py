"""Numbers that others published, written down a second time: the package is compared with these, and
not with its own constants."""

import numpy as np

ARCFACE = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)
"""Pixels (x, y) in a 112x112 crop: `arcface_src` of deepinsight/insightface,
python-package/insightface/utils/face_align.py (MIT). Eyes, nose, mouth corners; image's left first."""

GRACE = (
    (224.25, 197.33),
    (306.76, 195.58),
    (265.42, 238.90),
    (229.81, 273.97),
    (304.45, 272.27),
)
"""The same five points of the public-domain portrait that matplotlib ships as grace_hopper.jpg, by an
MTCNN detector."""
