"""Sets of digests against Python's own sets."""

import numpy as np

from edge_fiqa.distributed.digests import DigestSet, digests_of


def test_what_is_new_is_what_a_set_says():
    rng, digests, names = np.random.default_rng(5), DigestSet(), set()
    for size in (0, 3, 1, 200, 0, 50, 7, 1000):
        drawn = [f"name {n}" for n in rng.integers(0, 800, size)]
        new = []
        for name in drawn:
            new.append(name not in names)
            names.add(name)
        assert digests.add_new(digests_of(drawn)).tolist() == new
    every = [f"name {n}" for n in range(900)]
    assert digests.holds(digests_of(every)).tolist() == [name in names for name in every]


def test_a_name_takes_eight_bytes():
    digests = DigestSet()
    for start in range(0, 100_000, 1000):
        digests.add(digests_of([str(n) for n in range(start, start + 1000)]))
    assert sum(each.nbytes for each in digests._sorted) == 800_000
