"""Output files that survive a crash and go on."""

import msgspec
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.record import Algorithm, Cost, Decision, Exit, Quality, Record
from edge_fiqa.scoring.resume import ResumableFile

MAKER = {"fingerprint": "sha256:ab", "fusion": "FW", "calibration": "sigmoid:1"}


def record(source, number=0):
    return Record(
        id=f"{source}#{number}",
        source=source,
        box=None,
        landmarks=None,
        quality=Quality(50, 1.0, None, "ok", Algorithm("nano", "1", "sha256:ab"), "sigmoid:1"),
        exit=Exit(1, "full", (1.0,), "FW"),
        cost=Cost(1.0, 1.0, None),
        decision=Decision(None, None, None, None),
        warnings=(),
    )


def fill(path, form, *groups, **options):
    file = ResumableFile(path, form, **MAKER, **options)
    for group in groups:
        file.write(group)
    file.close()
    return file.done


@pytest.fixture(params=["ndjson", "csv"])
def form(request):
    return request.param


def test_a_second_run_knows_what_is_done(tmp_path, form):
    path = tmp_path / "out"
    assert fill(path, form, [record("a")], [record("b"), record("b", 1)]) == set()
    before = path.read_bytes()
    assert fill(path, form) == {"a", "b"}
    assert path.read_bytes() == before
    fill(path, form, [record("c")])
    assert path.read_bytes().startswith(before)
    assert path.read_text(encoding="utf-8").count("sha256:ab") == 4
    assert path.read_text(encoding="utf-8").count("quality.scalar") == (1 if form == "csv" else 0)


@pytest.mark.parametrize("lost", [1, 20, 60])
def test_a_line_cut_by_a_crash_goes_with_the_other_faces_of_its_image(tmp_path, form, lost):
    path = tmp_path / "out"
    fill(path, form, [record("a")])
    whole = path.read_bytes()
    fill(path, form, [record("b"), record("b", 1)])
    path.write_bytes(path.read_bytes()[:-lost])
    # Of image b one whole line is there and one is cut.
    assert fill(path, form) == {"a"}
    assert path.read_bytes() == whole
    assert fill(path, form, [record("z")]) == {"a"}
    assert fill(path, form) == {"a", "z"}


@pytest.mark.parametrize("kept", [0, 1, 60])
def test_a_cut_line_may_belong_to_the_image_before_it(tmp_path, form, kept):
    """Whose face the cut line was cannot be known: the image before it is scored again as well."""
    path = tmp_path / "out"
    fill(path, form, [record("a")])
    start = path.stat().st_size
    fill(path, form, [record("b")])
    middle = path.stat().st_size
    fill(path, form, [record("c")])
    path.write_bytes(path.read_bytes()[: middle + kept])
    assert fill(path, form) == ({"a"} if kept else {"a", "b"})
    assert path.stat().st_size == (start if kept else middle)


def test_cut_in_the_first_line(tmp_path, form):
    path = tmp_path / "out"
    path.write_bytes(b'{"schema":"edge')
    if form == "csv":
        path.write_bytes(b"schema,id,sou")
    assert fill(path, form, [record("a")]) == set()
    assert fill(path, form) == {"a"}


@pytest.mark.parametrize("kept", [30, 60, -1])
def test_a_lone_line_that_was_cut_is_ours_however_long_it_is(tmp_path, kept):
    path = tmp_path / "out"
    fill(path, "ndjson", [record("a")])
    path.write_bytes(path.read_bytes()[:kept])
    assert fill(path, "ndjson") == set()
    assert path.read_bytes() == b""


def test_faces_without_a_quality_are_done_and_of_no_calibration(tmp_path, form):
    """They are not scored again, and another model's are refused all the same."""
    path = tmp_path / "out"
    failed = record("a")
    quality = msgspec.structs.replace(
        failed.quality, scalar=None, raw=None, code="no_face", calibration=None
    )
    fill(path, form, [msgspec.structs.replace(failed, quality=quality)], [record("b")])
    assert fill(path, form) == {"a", "b"}
    with pytest.raises(ConfigError, match="another model"):
        ResumableFile(path, form, **{**MAKER, "fingerprint": "sha256:cd"})
    alone = tmp_path / "alone"
    fill(alone, form, [msgspec.structs.replace(failed, quality=quality)])
    assert fill(alone, form) == {"a"}
    with pytest.raises(ConfigError, match="another model"):
        ResumableFile(alone, form, **{**MAKER, "fusion": "F"})


def test_another_models_file_is_not_mixed(tmp_path, form):
    path = tmp_path / "out"
    fill(path, form, [record("a")])
    for key, value in (
        ("fingerprint", "sha256:cd"),
        ("fusion", "F"),
        ("calibration", "sigmoid:2"),
    ):
        other = {**MAKER, key: value}
        with pytest.raises(ConfigError, match="another model, fusion or calibration"):
            ResumableFile(path, form, **other)
    assert fill(path, form, overwrite=True) == set()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("text", ["hello\n", "1,2,3\n4,5,6\n", '{"a": 1}\n'])
def test_a_foreign_file_is_left_alone(tmp_path, form, text):
    path = tmp_path / "out"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="--overwrite"):
        ResumableFile(path, form, **MAKER)
    assert path.read_text(encoding="utf-8") == text


def test_what_cannot_be_written(tmp_path, form):
    for path in (tmp_path, tmp_path / "absent" / "out"):
        with pytest.raises(ConfigError, match="cannot be written"):
            ResumableFile(path, form, **MAKER)


def test_ndjson_lines_are_records(tmp_path):
    fill(tmp_path / "out", "ndjson", [record("a"), record("a", 1)])
    lines = (tmp_path / "out").read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=Record).id for line in lines] == ["a#0", "a#1"]


@pytest.mark.parametrize("name", ["a\nb", "c\rd", 'e"f,', "g\r\nh"])
def test_a_name_with_a_line_end_is_one_row(tmp_path, form, name):
    path = tmp_path / "out"
    fill(path, form, [record("a")])
    start = path.read_bytes()
    fill(path, form, [record("b")])
    both = path.read_bytes()
    fill(path, form, [record(name)])
    first = path.stat().st_size
    fill(path, form, [record(name, 1)])
    whole = path.read_bytes()
    assert fill(path, form) == {"a", "b", name}
    for size in range(len(both) + 1, len(whole)):
        path.write_bytes(whole[:size])
        if size < first:  # the cut line may have been another face of b
            expected, rest = {"a"}, start
        elif size == first:
            expected, rest = {"a", "b", name}, whole[:first]
        else:
            expected, rest = {"a", "b"}, both
        assert fill(path, form) == expected, size
        assert path.read_bytes() == rest


def test_a_file_of_somebody_else_is_never_cut(tmp_path, form):
    path = tmp_path / "out"
    path.write_bytes(b"my only notes, and no line end")
    with pytest.raises(ConfigError, match="is not a"):
        fill(path, form)
    assert path.read_bytes() == b"my only notes, and no line end"
