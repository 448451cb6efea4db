"""Quality labels from a frozen recogniser: how close a face lies to its identity's clean centre.

The cosine to the class centre is the numerator of CR-FIQA's certainty ratio (arXiv:2112.06592). Here
the centre is the mean of the identity's other clean faces, so no face is compared with itself.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_fiqa.types import Array

Ints = npt.NDArray[np.int64]


def centre_cosine(clean: Array, variants: Array, identity: Ints) -> Array:
    """Cosine of every variant to the centre of its identity's *other* clean faces.

    clean: (N, F) unit embeddings; variants: (N, V, F); identity: (N,). Returns (N, V).
    A face that is alone in its identity has no other face. It is compared with its own clean
    version, and that too-kind cosine is mapped to the honest scale by a straight line fitted on the
    faces for which both are known; its clean variant, where cosine 1 says nothing, becomes NaN.
    """
    sums = np.zeros((identity.max() + 1, clean.shape[1]), np.float32)
    np.add.at(sums, identity, clean)
    alone = np.bincount(identity)[identity] == 1
    centre = sums[identity] - clean
    centre[alone] = clean[alone]
    centre /= np.linalg.norm(centre, axis=1, keepdims=True)
    cosine = np.einsum("nvf,nf->nv", variants, centre)
    if alone.any() and not alone.all():
        kind = np.einsum("nvf,nf->nv", variants, clean)
        known = (kind < 0.999) & ~alone[:, None]
        slope, offset = np.polyfit(kind[known], cosine[known], 1)
        cosine[alone] = slope * kind[alone] + offset
        cosine[alone[:, None] & (kind > 0.999)] = np.nan
    return cosine.astype(np.float32)


def standardise(labels: Array) -> Array:
    """Zero mean, unit deviation over the defined labels: exits then share one stable loss scale."""
    return (labels - np.nanmean(labels)) / np.nanstd(labels)
