"""Which of many names were seen before, with 8 bytes a name: 64 bits of a digest of each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Digests = npt.NDArray[np.uint64]


def digest(text: str) -> str:
    """16 hexadecimal digits."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def digests_of(names: Sequence[str]) -> Digests:
    """(N,) Among 10 million names, two are alike with a chance of 3 in a million."""
    return np.array([int(digest(name), 16) for name in names], np.uint64)


class DigestSet:
    """Sorted arrays, each more than twice as long as the next one: adding N names costs N log N."""

    def __init__(self) -> None:
        self._sorted: list[Digests] = []

    def add(self, digests: Digests) -> None:
        self._sorted.append(np.unique(digests))
        while len(self._sorted) > 1 and len(self._sorted[-2]) <= 2 * len(self._sorted[-1]):
            last = self._sorted.pop()
            self._sorted[-1] = np.unique(np.concatenate([self._sorted[-1], last]))

    def holds(self, digests: Digests) -> npt.NDArray[np.bool_]:
        """(N,)"""
        held = np.zeros(len(digests), bool)
        for each in self._sorted:
            if len(each):
                places = np.minimum(np.searchsorted(each, digests), len(each) - 1)
                held |= each[places] == digests
        return held

    def add_new(self, digests: Digests) -> npt.NDArray[np.bool_]:
        """(N,) Where one stands that is not in the set and not before it in `digests`; adds them."""
        first = np.zeros(len(digests), bool)
        first[np.unique(digests, return_index=True)[1]] = True
        new: npt.NDArray[np.bool_] = first & ~self.holds(digests)
        self.add(digests[new])
        return new
