"""All best shots of a video on one page, or on several."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

from PIL import Image, ImageDraw, ImageFont

from edge_fiqa.errors import ConfigError, counted, shown
from edge_fiqa.files import write_new
from edge_fiqa.footage.result import PersonEntry, VideoResult
from edge_fiqa.reasons.words import causes_in_words

COLUMNS, ROWS = 5, 6
SIDE, GAP, TEXT, HEAD = 200, 16, 62, 74  # pixels: of a picture, between, below it, above all
INK, SOFT, PAPER, BACKGROUND = "#1c2530", "#5a6775", "#ffffff", "#e9edf1"
LONGEST_NAME, LONGEST_LINE = 70, 30  # characters: of the video's name, below a picture


def write_contact_sheets(folder: Path, result: VideoResult) -> list[Path]:
    """contact-sheet.jpg, contact-sheet-2.jpg ... of the pictures in `folder`; none without any.

    Raises ConfigError.
    """
    shots = [entry for entry in result.persons if entry.picture is not None]
    size = COLUMNS * ROWS
    pages = [shots[start : start + size] for start in range(0, len(shots), size)]
    files = []
    for number, entries in enumerate(pages, 1):
        file = folder / f"contact-sheet{'' if number == 1 else f'-{number}'}.jpg"
        title = drawable(Path(result.video).name)
        if len(pages) > 1:
            title += f"  ({number} of {len(pages)})"
        data = io.BytesIO()
        try:
            _page(folder, entries, title, _summary(result)).save(data, "JPEG", quality=90)
            write_new(file, data.getvalue(), 0o600)
        except OSError as exc:
            raise ConfigError(f"{file} cannot be written: {exc.strerror or exc}") from exc
        files.append(file)
    return files


def clock_time(seconds: float) -> str:
    """83.25 -> 1:23.2; 3723.0 -> 1:02:03.0. Cut, not rounded, so that it lies in the video."""
    tenths = int(seconds * 10 + 1e-6)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    begin = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{begin}:{rest // 10:02}.{rest % 10}"


def quality_text(entry: PersonEntry) -> str:
    """Quality and decision, or the raw score of a model that is not calibrated."""
    if entry.record is None:
        return ""
    quality, accepted = entry.record.quality, entry.record.decision.accepted
    text = f"{quality.raw:.3g}" if quality.scalar is None else f"{quality.scalar}"
    return text if accepted is None else f"{text} {'accepted' if accepted else 'refused'}"


def _summary(result: VideoResult) -> str:
    shots = sum(entry.picture is not None for entry in result.persons)
    parts = [f"{counted(shots, 'best shot')}, in the order in which people appear"]
    if rest := len(result.persons) - shots:
        parts.append(f"{counted(rest, 'track')} without a usable face")
    if not result.complete:
        parts.append("stopped before the end")
    return "; ".join(parts)


def _page(folder: Path, entries: Sequence[PersonEntry], title: str, text: str) -> Image.Image:
    columns = min(COLUMNS, max(3, len(entries)))
    rows = -(-len(entries) // columns)
    width = GAP + columns * (SIDE + GAP)
    page = Image.new("RGB", (width, HEAD + rows * (SIDE + TEXT + GAP)), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((GAP, 14), title, INK, ImageFont.load_default(22))
    draw.text((GAP, 44), text, SOFT, ImageFont.load_default(14))
    for index, entry in enumerate(entries):
        row, column = divmod(index, columns)
        _cell(
            page, draw, folder, entry, GAP + column * (SIDE + GAP), HEAD + row * (SIDE + TEXT + GAP)
        )
    return page


def _cell(
    page: Image.Image,
    draw: ImageDraw.ImageDraw,
    folder: Path,
    entry: PersonEntry,
    left: int,
    top: int,
) -> None:
    assert entry.picture is not None
    assert entry.time_s is not None
    draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), BACKGROUND)
    with Image.open(folder / entry.picture) as picture:
        scale = SIDE / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        fitted = picture.resize(size, Image.Resampling.LANCZOS)
    page.paste(fitted, (left + (SIDE - size[0]) // 2, top + (SIDE - size[1]) // 2))
    lines = (
        (f"{entry.person}    quality {quality_text(entry)}", INK, 16),
        (_time_and_cause(entry, entry.time_s), SOFT, 14),
        (f"seen {clock_time(entry.first_s)} to {clock_time(entry.last_s)}", SOFT, 14),
    )
    below = top + SIDE + 6
    for text, ink, height in lines:
        draw.text((left, below), text, ink, ImageFont.load_default(height))
        below += height + 4


def _time_and_cause(entry: PersonEntry, time_s: float) -> str:
    """The most certain cause alone: there is room for few words."""
    cause = causes_in_words(None if entry.record is None else entry.record.reasons, most=1)
    text = ", ".join(filter(None, (f"at {clock_time(time_s)}", cause)))
    return shorten(text, LONGEST_LINE, placeholder=" ...")


def drawable(name: str) -> str:
    """Without the accents, and with ? for the letters that Pillow's own font lacks; not too long."""
    parts = unicodedata.normalize("NFKD", shown(name))
    letters = (letter for letter in parts if not unicodedata.combining(letter))
    name = "".join(letter if letter.isascii() else "?" for letter in letters)
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 3] + "..."
