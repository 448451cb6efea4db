"""Pictures as folders, tars and Parquet files, and sets that this process scores, without Ray."""

import contextlib
import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from edge_fiqa.distributed.plan import clear_plan, plan_of
from edge_fiqa.distributed.setup import WorkerSetup
from edge_fiqa.distributed.shard_pictures import ParquetColumns
from edge_fiqa.distributed.shard_scorer import ShardScorer
from edge_fiqa.distributed.shards import sources_of
from edge_fiqa.policies.policy import Fixed
from edge_fiqa.record import Cost
from edge_fiqa.scoring.pipeline import score_files
from edge_fiqa.scoring.requests import FaceRequest, ScoringRequest
from edge_fiqa.tables.columns import records_of
from edge_fiqa.tables.score_set import ScoreSet, SetSettings


def encoded(faces):
    """PNG files as bytes."""
    files = []
    for face in faces:
        file = io.BytesIO()
        Image.fromarray(face).save(file, "PNG")
        files.append(file.getvalue())
    return files


def write_folder(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(files):
        (folder / f"{number:05}.png").write_bytes(data)
    return folder


def write_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for number, data in enumerate(files):
            add_member(archive, f"{number:05}.png", data)
            add_member(archive, f"{number:05}.json", b"{}")
    return path


def add_member(archive, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def write_parquet(path, files, rows_of_group=4):
    images = [{"bytes": data, "path": None} for data in files]
    table = pa.table({"image": images, "key": [f"k{n}" for n in range(len(files))]})
    pq.write_table(table, path, row_group_size=rows_of_group)
    return path


def worker_setup(bundle, **changes):
    values = {
        "folder": str(Path.cwd()),
        "must_exist": (),
        "bundle": str(bundle.folder),
        "precision": bundle.manifest.precision,
        "fingerprint": bundle.manifest.fingerprint,
        "detector_sha256": None,
    }
    scoring = {
        "backend": "ov",
        "threads": 1,
        "fusion": "FW",
        "calibration": None,
        "gate": None,
        "policies": (Fixed(),),
        "gate_policy": None,
        "faces": FaceRequest(detector=None, landmarks=None, min_eye_px=10.0),
    }
    scoring |= {name: changes.pop(name) for name in scoring if name in changes}
    return WorkerSetup(**{**values, **changes}, scoring=ScoringRequest(**scoring))


ANY_COLUMNS = ParquetColumns()


class LocalRun:
    """One run over a set: planned, and scored shard by shard."""

    def __init__(self, inputs, output, bundle, per_file=4, columns=ANY_COLUMNS, **changes):
        self.set = ScoreSet(str(output))
        with contextlib.ExitStack() as held:
            self.set.hold(held)
            self.set.keep(SetSettings(per_file=per_file, settings={}))
            sources = sources_of([str(text) for text in inputs], io.StringIO())
            self.plan = plan_of(sources, self.set, per_file)
        parts = worker_setup(bundle, **changes).open()
        self.worker = ShardScorer(parts, str(output), self.plan.per_file, columns)

    def finish(self):
        """What the workers say of each shard."""
        done = [self.worker.score(shard) for shard in self.plan.shards]
        clear_plan(self.set)
        return done


def scored(inputs, output, bundle, **options):
    run = LocalRun(inputs, output, bundle, **options)
    return run.finish()


def by_id(output):
    """id -> record, without ms. Fails for an id that is there twice."""
    score_set = ScoreSet(str(output))
    names = [record for batch in score_set.batches(COLUMNS) for record in records_of(batch)]
    assert len({record.id for record in names}) == len(names)
    return {record.id: comparable(record) for record in names}


def comparable(record):
    """Without what every run measures anew."""
    cost = Cost(record.cost.gflops, None, None)
    return type(record)(
        **{**{f: getattr(record, f) for f in record.__struct_fields__}, "cost": cost}
    )


def expected(paths, bundle, **changes):
    """What the pipeline of one machine makes of files: id -> record, without ms."""
    parts = worker_setup(bundle, **changes).open()
    groups = score_files(paths, parts.reader.faces_of, [parts.service], parts.policies)
    return {record.id: comparable(record) for records in groups for record in records}


COLUMNS = [
    "schema", "id", "source", "frame_time", "box", "landmarks", "quality", "exit", "cost", "decision",
    "warnings",
]  # fmt: skip
