"""Which place lies in which, and on which server."""

import pytest

from edge_fiqa.tables.places import place_of


@pytest.mark.parametrize(
    ("inner", "folder", "expected"),
    [
        ("s3://b/in/out", "s3://b/in", True),
        ("s3://b/in", "s3://b/in/", True),
        ("s3://b/inner", "s3://b/in", False),
        ("s3://b", "s3://b/in", False),
        ("s3://c/in/out", "s3://b/in", False),
        ("/in/out", "s3://b", False),
        ("s3://b/in", "/", False),
    ],
)
def test_below_a_folder_of_a_bucket(inner, folder, expected):
    options = "?region=us-east-1&endpoint_override=here:9000"
    places = [place_of(name + options * name.startswith("s3:")) for name in (inner, folder)]
    assert places[0].lies_in(places[1]) is expected


def test_below_a_folder_here_also_by_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    folder = place_of(str(tmp_path / "real"))
    assert place_of(str(tmp_path / "link/deep/out")).lies_in(folder)
    assert place_of(str(tmp_path / "real/../real")).lies_in(folder)
    assert not place_of(str(tmp_path / "realm")).lies_in(folder)


def test_the_server_of_a_bucket():
    here, there = "?region=us-east-1&endpoint_override=here:9000", "?region=us-east-1"
    assert place_of(f"s3://b/k{here}").endpoint == "here:9000"
    same = "?endpoint_override=http%3A%2F%2FHere%3A9000%2F&region=eu-west-1"
    assert place_of(f"s3://b/k{same}").endpoint == "here:9000"
    assert place_of(f"s3://b/k{there}").endpoint == place_of("/b/k").endpoint == ""
    other = "?region=us-east-1&endpoint_override=other:9000"
    assert not place_of(f"s3://b/k{here}").lies_in(place_of(f"s3://b{other}"))
    assert place_of(f"s3://b/k{here}").lies_in(place_of(f"s3://b{there}"))  # it may be the same


def test_the_server_may_be_named_by_the_environment(monkeypatch):
    plain, here = "s3://b/k?region=us-east-1", "s3://b/k?endpoint_override=here:9000"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://Minio:9000/")
    assert place_of(plain).endpoint == "minio:9000"
    assert place_of(here).endpoint == "here:9000"
    assert place_of("/b/k").endpoint == ""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3:9000")
    assert place_of(plain).endpoint == "s3:9000"
