"""What a run of `edge-fiqa score` did, in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_fiqa.errors import counted
from edge_fiqa.record import Record


@dataclass
class ScoreSummary:
    """faces: by the code of their record. there_already: files with scores in the output.
    changed: files that are scored again, as their picture or the number of their faces changed.

    passed_over: files in folders that are no images, by their suffix.
    """

    faces: Counter[str] = field(default_factory=Counter)
    there_already: int = 0
    changed: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)

    def see(self, records: Sequence[Record]) -> None:
        self.faces.update(record.quality.code for record in records)

    @property
    def written(self) -> int:
        return self.faces.total()

    @property
    def failed(self) -> int:
        return self.written - self.faces["ok"]

    def line(self, where: str) -> str:
        """where: they were written to."""
        codes = {code: count for code, count in self.faces.items() if code != "ok"}
        parts = [
            f"{counted(self.written, 'face')} written to {where}: "
            f"{self.faces['ok']} scored, {self.failed} NA{_listed(codes)}"
        ]
        if self.there_already:
            parts.append(f"{counted(self.there_already, 'file was', 'files were')} there already")
        if self.changed:
            parts.append(
                f"{counted(self.changed, 'file')} scored again, as their picture or landmarks changed"
            )
        if self.passed_over:
            parts.append(self.passed_over_line())
        return "; ".join(parts)

    def passed_over_line(self) -> str:
        return f"{counted(self.passed_over.total(), 'file')} passed over{_listed(self.passed_over)}"


def _listed(counts: dict[str, int]) -> str:
    """(2 unreadable, 1 no_face), or nothing."""
    texts = [f"{count} {name}" for name, count in sorted(counts.items())]
    return f" ({', '.join(texts)})" if texts else ""
