"""Pictures and sets in S3: a real server on this machine, spoken to over the network."""

import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.tables.places import matching, place_of
from edge_fiqa.tables.score_set import ScoreSet
from tests.distributed.sets import by_id, encoded, expected, scored, write_folder, write_tar
from tests.needs import missing

try:
    from moto.server import ThreadedMotoServer
except ImportError:
    missing("moto is not installed; pip install 'moto[s3]' flask flask-cors", whole_file=True)


@pytest.fixture(scope="module")
def bucket():
    """The options that reach it, and a bucket in it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = (
        f"?scheme=http&endpoint_override={host}:{port}&region=us-east-1&allow_bucket_creation=true"
    )
    place_of(f"s3://any:secret@faces{options}").make_folder()
    yield options
    server.stop()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def test_a_set_in_a_bucket_from_pictures_in_a_bucket(bucket, bundle, tmp_path):
    files = encoded(synthetic_faces(7, seed=2))
    folder = write_folder(tmp_path / "faces", files)
    tar = write_tar(tmp_path / "a.tar", files)
    for number, data in enumerate(files):
        place_of(f"s3://faces/in/{number:05}.png{bucket}").write(data)
    place_of(f"s3://faces/in/a.tar{bucket}").write(tar.read_bytes())
    place_of(f"s3://faces/in/notes.txt{bucket}").write(b"no picture")
    output = f"s3://faces/out{bucket}"
    scored([f"s3://faces/in{bucket}"], output, bundle)
    records = by_id(output)
    alone = expected(sorted(folder.iterdir()), bundle)
    names = [f"s3://faces/in/{n:05}.png#0" for n in range(7)]
    names += [f"s3://faces/in/a.tar/{n:05}.png#0" for n in range(7)]
    assert set(records) == set(names)
    scores = [record.exit.scores for record in alone.values()]
    assert [records[name].exit.scores for name in names] == 2 * scores
    again = scored([f"s3://faces/in{bucket}"], output, bundle)
    assert again == []  # all of it is there


def test_names_hold_no_secret_and_no_options(bucket):
    place = place_of(f"s3://any:secret@faces/in/x.png{bucket}")
    assert place.name == "s3://faces/in/x.png"


def test_patterns_match_in_a_bucket(bucket):
    for name in ("g/a.tar", "g/b.tar", "g/deep/c.tar"):
        place_of(f"s3://faces/{name}{bucket}").write(b"x")
    assert [place.name for place in matching(f"s3://faces/g/*.tar{bucket}")] == [
        "s3://faces/g/a.tar",
        "s3://faces/g/b.tar",
    ]
    assert len(matching(f"s3://faces/g/**/*.tar{bucket}")) == 3


def test_a_bucket_that_is_not_there_is_named(bucket):
    with pytest.raises(ConfigError, match="s3://nowhere/x: no Parquet files"):
        ScoreSet(f"s3://nowhere/x{bucket}").part_places()


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ConfigError, match="nonsense://a/b: "):
        place_of("nonsense://a/b")


def test_fsspec_has_the_other_schemes(bundle, tmp_path):
    files = encoded(synthetic_faces(3, seed=2))
    for number, data in enumerate(files):
        place_of(f"memory://faces/{number}.png").write(data)
    scored(["memory://faces"], "memory://out", bundle)
    assert len(by_id("memory://out")) == 3
