"""The exceptions edge_fiqa raises on purpose. Everything else is a bug.

EdgeFiqaError
├── ConfigError            the caller asked for something impossible: flag, recipe, exit, policy
├── CheckpointError        a weights file that is not the ViT-FIQA it should be
├── BundleError            a bundle that is missing, damaged, foreign or too new
├── BackendMissing         the library or the hardware a backend needs is not here
├── EngineFailed           a backend accepted the work and could not do it
├── Overloaded             the answer would come after its deadline; ask again later
├── KeptFileRefused        a cache or checkpoint that is damaged, or that others may have written
└── ImageRefused(code)     one image that cannot be scored; becomes a record, never ends a run
"""

from __future__ import annotations

from typing import Literal

FailureCode = Literal["unreadable", "no_face", "too_small", "not_finite", "timeout"]
"""timeout: a face of a pushed picture, whose deadline passed while other faces of it were answered."""


class EdgeFiqaError(Exception):
    """Base of every error this package raises on purpose.

    Each line is one line, whatever it names: a file's name steers no terminal and no log.
    """

    def __init__(self, *lines: object) -> None:
        super().__init__("\n".join(shown(str(line)) for line in lines))


def shown(text: str) -> str:
    """Escape line ends, control characters and marks of direction in a name, for a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(exc: object) -> str:
    """What a library says in several lines."""
    return " ".join(str(exc).split())


def counted(number: float, one: str, several: str | None = None, form: str = "") -> str:
    """`1 face`, `2 faces`, `2 files were`. several: the plural, where it is not `one` with an s.

    form: how the number is written, as in `format`.
    """
    return f"{number:{form}} {one if number == 1 else several or one + 's'}"


class ConfigError(EdgeFiqaError, ValueError):
    """The caller asked for something that cannot be."""


class CheckpointError(EdgeFiqaError):
    """The weights file is not a ViT-FIQA of the stated shape."""


class BundleError(EdgeFiqaError):
    """The bundle is missing, damaged, foreign, or written by a newer edge_fiqa."""


class BackendMissing(EdgeFiqaError):
    """The library or hardware that a backend needs is not on this machine."""


class EngineFailed(EdgeFiqaError):
    """A backend failed while loading or running a segment."""


class Overloaded(EdgeFiqaError):
    """More is asked than can be answered in time."""


class KeptFileRefused(EdgeFiqaError):
    """A file that a process kept for the next one cannot be used."""


class ImageRefused(EdgeFiqaError):
    """One image cannot be scored; `code` goes into its record."""

    def __init__(self, code: FailureCode, reason: str) -> None:
        super().__init__(reason)
        self.code: FailureCode = code
