"""Where the records of `edge-fiqa score` go: shown as they come, or sorted and selected at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from edge_fiqa.cli.score_request import ScoreRequest
from edge_fiqa.errors import ConfigError, counted
from edge_fiqa.faces.images import printable
from edge_fiqa.record import Record
from edge_fiqa.scoring.crops import CropFolder, KeepsCrops, person_by_folder
from edge_fiqa.scoring.output import TableWriter, Writer
from edge_fiqa.scoring.pipeline import ReadFaces, Scores
from edge_fiqa.scoring.resume import ResumableFile
from edge_fiqa.scoring.selection import Selection

MOST_NAMED = 3


class ScoreResults:
    """Of one run. With --output, all records go to the file as they come, so that a second run resumes;
    what is sorted, selected or cropped is read back from it. Else they are kept in memory for that.

    gate: whether the table shows verdicts.
    """

    def __init__(self, request: ScoreRequest, writer: Writer, gate: bool) -> None:
        output = request.output
        self.request, self.writer, self.gate = request, writer, gate
        self.selection = output.selection
        self.path = output.path if isinstance(writer, ResumableFile) else None
        self.crops = None if output.crops is None else CropFolder(output.crops)
        self.sources: set[str] = set()
        self._held: list[Record] = []
        self._lost: list[str] = []

    @property
    def _crops_at_end(self) -> bool:
        """Only those of selected faces are written."""
        return self.selection is not None and self.selection.limited

    def noted(self, images: Iterable[Path]) -> Iterator[Path]:
        """The images, whose sources this run is about, also where their records are there already."""
        reads_back = self.crops is not None or self.selection is not None
        for path in images:
            if reads_back and self.path is not None:
                self.sources.add(printable(path))
            yield path

    def keeping_crops(self, workers: Sequence[Scores]) -> Sequence[Scores]:
        """The scorers, which write crops where every face gets one."""
        if self.crops is None or self._crops_at_end:
            return workers
        return [KeepsCrops(worker, self.crops) for worker in workers]

    def add(self, records: list[Record]) -> None:
        """The records of one image."""
        if self.selection is not None and self.path is None:
            self._held += records
        else:
            self.writer.write(records)

    def show_held(self) -> None:
        """Show what is selected of the records in memory, if they are kept there."""
        if self.selection is not None and self.path is None:
            self._held = self._selected(self._held, self.selection)
            for record in self._held:
                self.writer.write([record])

    def finish(self, read: ReadFaces) -> None:
        """Show what is selected of the closed file, and write the crops that are still missing."""
        records = self._held
        if self.path is not None and (self.selection or self.crops):
            records = _stored(self.path, self.sources)
            if self.selection is not None:
                records = self._selected(records, self.selection)
                table = TableWriter(sys.stdout, self.request.output.all_exits, self.gate)
                for record in records:
                    table.write([record])
        if self.crops is not None:
            self._lost = self.crops.keep_again(records, read)

    def _selected(self, records: Sequence[Record], selection: Selection) -> list[Record]:
        return selection.of(records, person_by_folder(self.request.inputs))

    def stopped(self, written: int) -> str:
        """What there is of a run that was stopped."""
        if self.selection is not None and self.path is None:
            return "nothing is sorted before all are scored; --output FILE keeps what is done"
        return f"{counted(written, 'face')} written"

    def notes(self) -> list[str]:
        """What there is to say of crops and of the order."""
        policy = self.request.scoring.gate_policy
        lines = []
        if self.selection is not None and policy is not None and policy.ranked is None:
            lines.append(
                "warning: faces that stopped early are sorted by an estimate; see --ranked"
            )
        if self.crops is None:
            return lines
        if not self.request.output.quiet:
            lines.append(self.crops.line())
        if self.crops.other:
            lines.append(
                f"warning: {counted(len(self.crops.other), 'file')} in {self.crops.folder} with "
                "another picture "
                "or another model's record: kept as before (for example "
                f"{self.crops.other[0].name}); give a new --crops folder"
            )
        return [*lines, *(f"warning: no crop of {text}" for text in self._lost[:MOST_NAMED])]


def _stored(path: Path, sources: set[str]) -> list[Record]:
    """The records of these sources in an NDJSON file. Raises ConfigError if it cannot be read."""
    records = []
    try:
        with path.open("rb") as file:
            for line in file:
                record = msgspec.json.decode(line, type=Record)
                if record.source in sources:
                    records.append(record)
    except (OSError, msgspec.MsgspecError) as exc:
        raise ConfigError(f"{path} cannot be read back: {exc}") from exc
    return records
