"""Score many aligned faces with all cores: python examples/pool.py FACE.png ...

One Scorer with several engines, shared by the threads of a pool, as a web service shares it: each call
takes an engine that is free. With processes instead of threads, open the Scorer in each of them.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from edge_fiqa import Scorer


def main(paths: list[str]) -> None:
    workers = os.cpu_count() or 1
    with Scorer.open(workers=workers) as scorer, ThreadPoolExecutor(workers) as pool:
        for path, record in zip(paths, pool.map(scorer.score_face, paths), strict=True):
            print(record.quality.scalar, record.quality.code, path)


if __name__ == "__main__":
    main(sys.argv[1:])
