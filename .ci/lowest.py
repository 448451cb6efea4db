"""Prints the lowest versions that setup.py allows here, one requirement a line: for `uv pip compile`.

python .ci/lowest.py EXTRA...       # edge-fiqa must be installed: its metadata is read
"""

import sys
from importlib.metadata import requires

from packaging.requirements import Requirement

for text in requires("edge-fiqa") or []:
    requirement = Requirement(text)
    extras = ["", *sys.argv[1:]]
    if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in extras):
        with_extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        print(f"{requirement.name}{with_extras}{requirement.specifier}")
