"""The lowest versions that pyproject.toml allows here, one a line: for `uv pip compile`.

python .ci/lowest.py EXTRA...       # edge-fiqa must be installed: its metadata is read
"""

import sys
from importlib.metadata import requires

from packaging.requirements import Requirement

NAME = "edge-fiqa"
extras, lowest = ["", *sys.argv[1:]], []
for extra in extras:  # grows: an extra may ask for others of the same package
    for requirement in map(Requirement, requires(NAME) or []):
        if requirement.marker is None:
            asked = extra == ""
        else:
            asked = requirement.marker.evaluate({"extra": extra})
            # Without an extra in its marker it is asked for once, not by every extra.
            asked = asked and (extra == "" or "extra" in str(requirement.marker))
        if asked and requirement.name == NAME:
            extras += sorted(requirement.extras - set(extras))
        elif asked:
            more = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
            lowest.append(f"{requirement.name}{more}{requirement.specifier}")
print(*dict.fromkeys(lowest), sep="\n")
