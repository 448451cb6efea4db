"""Records, and the settings that they were made with, without a model."""

import contextlib
import csv
import io

from edge_fiqa.record import Algorithm, Cost, Decision, Exit, Quality, Record
from edge_fiqa.scoring.resume import ResumableFile
from edge_fiqa.scoring.run_settings import RunSettings

DESCRIBED = {"model": "nano sha256:ab", "policy": "full depth", "faces from": "crops"}


def record(source, number=0, *, code="ok", ms=1.0, exits=1, fingerprint="sha256:ab"):
    """A face of quality 50, or one without a score."""
    has_score = code == "ok"
    algorithm = Algorithm("nano", "1", fingerprint)
    calibration = "sigmoid:1" if has_score else None
    return Record(
        id=f"{source}#{number}",
        source=source,
        box=None,
        landmarks=None,
        quality=Quality(
            50 if has_score else None,
            1.0 if has_score else None,
            None,
            code,
            algorithm,
            calibration,
        ),
        exit=Exit(
            1 if has_score else None,
            "full" if has_score else None,
            (1.0 if has_score else None,) * exits,
            "FW",
        ),
        cost=Cost(1.0, ms, None),
        decision=Decision(None, None, None, None),
        warnings=() if has_score else (f"{source}: it failed",),
    )


def run_settings(described=DESCRIBED, **changes):
    settings = {
        "fingerprint": "sha256:ab",
        "fusion": "FW",
        "calibration": "sigmoid:1",
        "gate": None,
        "reasons": frozenset({"full"}),
        "depth": 1,
        "faces": frozenset({"crops"}),
        "landmarks": None,
    }
    return RunSettings(described=described, **{**settings, **changes})


def write_run(path, form, *images):
    """One run that writes the records of these images -> the sources that were done before it."""
    file = ResumableFile(path, form, run_settings())
    done = set(file.done)
    with contextlib.closing(file):
        for records in images:
            file.write(records)
    return done


def csv_rows(path):
    text = path.read_bytes().decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
