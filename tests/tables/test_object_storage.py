"""Pictures and sets in S3: a real server on this machine, spoken to over the network."""

import io

import msgspec
import pytest

from edge_fiqa.distributed.plan import plan_of
from edge_fiqa.distributed.shard_pictures import listed_pictures
from edge_fiqa.distributed.shards import PictureNames, plan_file, sources_of
from edge_fiqa.errors import ConfigError, ImageRefused
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.tables.places import matching, place_of
from edge_fiqa.tables.score_set import ScoreSet
from tests.distributed.sets import (
    LocalRun,
    by_id,
    encoded,
    expected,
    scored,
    write_folder,
    write_tar,
)
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "any")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        place_of(f"s3://faces{options}").make_folder()
        yield options
    server.stop()


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


def codes_of(output):
    return [record.quality.code for record in by_id(output).values()]


def test_an_unreadable_picture_in_a_bucket_is_tried_again_until_it_is_mended(bucket, bundle):
    """Also by a run in which no other picture is missing."""
    files = encoded(synthetic_faces(3, seed=5))
    pictures, output = f"s3://faces/mended{bucket}", f"s3://faces/of-mended{bucket}"
    for number, data in enumerate([files[0], b"poison", files[2]]):
        place_of(pictures).child(f"{number}.png").write(data)
    scored([pictures], output, bundle)
    run = LocalRun([pictures], output, bundle)
    assert (run.plan.again, [shard.kind for shard in run.plan.shards]) == (1, ["again"])
    assert [done.error for done in run.finish()] == [None]
    assert codes_of(output) == ["ok", "unreadable", "ok"]
    place_of(pictures).child("1.png").write(files[1])
    assert [done.error for done in scored([pictures], output, bundle)] == [None]
    assert codes_of(output) == ["ok", "ok", "ok"]
    assert scored([pictures], output, bundle) == []


def test_each_unreadable_picture_is_tried_again_with_its_own_options(bucket, bundle, tmp_path):
    other = bucket.replace("&allow_bucket_creation=true", "")  # the same server, in other words
    names = [f"s3://faces/{folder}/x.png" for folder in ("first", "second", "third")]
    for name in names:
        place_of(f"{name}{bucket}").write(b"poison")
    output = tmp_path / "out"
    scored([f"{name}{bucket}" for name in names], output, bundle)  # one part with all three
    sources = sources_of([f"{names[0]}{bucket}", f"{names[1]}{other}"], io.StringIO())
    [shard] = plan_of(sources, ScoreSet(str(output)), 4).shards  # the third is not of this run
    listed = msgspec.json.decode((output / plan_file(shard)).read_bytes(), type=PictureNames)
    assert listed.names == names[:2]
    assert [listed.query_of(name) for name in names[:2]] == [bucket, other]
    run = LocalRun([f"{names[0]}{bucket}", f"{names[1]}{other}"], output, bundle)
    assert [(done.pictures, done.error) for done in run.finish()] == [(2, None)]
    assert codes_of(output) == ["unreadable"] * 3


HARD_NAMES = [
    "a b.png", "a%20b.png", "größe.png", "a[1].png", "a{1}.png", "a^b.png", "a#b.png", "a+b.png",
    "a?b.png", "a?region=x.png", "100%.png", "a&b=c.png",
]  # fmt: skip


def test_keys_of_any_characters_are_read_under_their_own_names(bucket, bundle):
    files = encoded(synthetic_faces(len(HARD_NAMES), seed=3))
    folder = place_of(f"s3://faces/hard{bucket}")
    for name, data in zip(HARD_NAMES, files, strict=True):
        folder.child(name).write(data)
    names = [f"s3://faces/hard/{name}" for name in HARD_NAMES]
    assert [place.name for place in map(place_of, uris(folder))] == names
    assert [place_of(uri).read() for uri in uris(folder)] == files
    scored([f"s3://faces/hard{bucket}"], f"s3://faces/of-hard{bucket}", bundle)
    records = by_id(f"s3://faces/of-hard{bucket}")
    assert set(records) == {f"{name}#0" for name in names}
    assert {record.quality.code for record in records.values()} == {"ok"}
    assert scored([f"s3://faces/hard{bucket}"], f"s3://faces/of-hard{bucket}", bundle) == []


def uris(folder):
    return [folder.child(name).uri for name in HARD_NAMES]


def test_containers_of_any_name_are_read(bucket, bundle, tmp_path):
    files = encoded(synthetic_faces(2, seed=3))
    data = write_tar(tmp_path / "a.tar", files).read_bytes()
    for name in ("a b#?.tar", "a%20b[1].tar"):
        place_of(f"s3://faces/tars{bucket}").child(name).write(data)
    scored([f"s3://faces/tars{bucket}"], f"s3://faces/of-tars{bucket}", bundle)
    expected_names = {
        f"s3://faces/tars/{tar}/0000{number}.png#0"
        for tar in ("a b#?.tar", "a%20b[1].tar")
        for number in range(2)
    }
    assert set(by_id(f"s3://faces/of-tars{bucket}")) == expected_names
    [itself] = matching(f"s3://faces/tars/a%20b[1].tar{bucket}")
    assert itself.name == "s3://faces/tars/a%20b[1].tar"


def test_a_large_object_is_not_read(bucket, monkeypatch):
    place_of(f"s3://faces/large/a.png{bucket}").write(bytes(1001))
    monkeypatch.setattr("edge_fiqa.distributed.shard_pictures.MAX_BYTES", 1000)
    [picture] = listed_pictures(PictureNames(["s3://faces/large/a.png"], bucket))
    with pytest.raises(ImageRefused, match=r"s3://faces/large/a\.png: the file is above"):
        picture.read()


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIAX:hunter2@faces/x.png",
        "s3://AKIAX:hun/ter2@faces/x*.png",
        "s3://hunter2@faces/x[*.png",
        "s3://faces/x?secret_key=hunter2",
        "s3://faces/x?region=a&endpoint_override=http://any:hunter2@host",
        "gs://any:hunter2@faces/x.png",
    ],
)
def test_a_password_is_refused_and_not_printed(uri):
    for refused in (place_of, matching, lambda text: sources_of([text], io.StringIO())):
        with pytest.raises(ConfigError, match=r"environment|is not supported") as raised:
            refused(uri)
        assert "hun" not in str(raised.value)


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


@pytest.mark.parametrize("scheme", ["nonsense", "gs", "hdfs", "az", "hf", "memory", "https"])
def test_a_scheme_that_was_not_tried_is_refused(scheme):
    with pytest.raises(
        ConfigError, match=f"{scheme}:// is not supported: only paths, file:// and s3"
    ):
        place_of(f"{scheme}://a/b")


def test_a_file_uri_is_a_path_that_begins_with_a_slash(tmp_path):
    assert place_of(f"file://{tmp_path}/a%20b?c").path == f"{tmp_path}/a%20b?c"
    with pytest.raises(ConfigError, match="begins with a slash"):
        place_of("file://folder/a.tar")
