"""Score a folder of photographs or crops: python examples/folder.py FOLDER"""

import sys
from pathlib import Path

from edge_fiqa import FaceReader, Scorer, find_detector

detector = find_detector()  # None: there is none, and every picture has to be an aligned crop
reader = FaceReader(detector.path if detector else None, crops_pass=True)
with Scorer.open() as scorer:
    for path in sorted(Path(sys.argv[1]).glob("*.[jp][pn]g")):
        for record in scorer.score(reader.faces_of(path)):
            print(record.quality.scalar, record.quality.code, path.name)
