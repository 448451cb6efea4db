"""Which pictures changed since they were scored, by their modification times.

Each run takes those that were modified between the start of the run before and its own start, so that
every change belongs to one run, also of a picture whose time lies in the future. A program that
keeps the old time when it replaces a picture is not noticed.
"""

from __future__ import annotations

from collections.abc import Collection

from edge_fiqa.faces.images import path_of


def changed_pictures(sources: Collection[str], after_ns: int, until_ns: int) -> set[str]:
    """Return the sources that were modified after `after_ns`, at `until_ns` at the latest.

    Both are ns since 1970. A source that does not exist any more is not among them.
    """
    return {
        source
        for source in sources
        if (modified_ns := _modified_ns(source)) is not None and after_ns < modified_ns <= until_ns
    }


def _modified_ns(source: str) -> int | None:
    try:
        return path_of(source).stat().st_mtime_ns
    except (OSError, ValueError):
        return None
