"""Flags of `edge-fiqa score --on ray`, as far as no Ray is needed to refuse them."""

import pytest

from edge_fiqa.cli import main


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--on", "ray"], "--on ray needs --output FOLDER"),
        (["--on", "ray", "-o", "out", "--crops", "crops"], "--crops is not for --on ray"),
        (["--on", "ray", "-o", "out", "--top", "3"], "--top is not for --on ray"),
        (["--on", "ray", "-o", "out", "--format", "csv"], "--format is not for --on ray"),
        (["--on", "ray", "-o", "out", "--per-file", "0"], "--per-file must be at least 1"),
        (["--on", "ray", "-o", "out", "--jobs", "0"], "--jobs must be at least 1"),
        (["--per-file", "5"], "--per-file is about --on ray"),
        (["--address", "auto"], "--address is about --on ray"),
        (["--summary", "page.html"], "--summary is about --on ray"),
    ],
)
def test_flags_without_meaning_are_refused(flags, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert main(["score", "a.jpg", *flags]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_an_input_that_is_not_there_is_said_before_ray_starts(tmp_path, capsys):
    assert main(["score", "s3x", "--on", "ray", "-o", str(tmp_path / "out")]) == 2
    assert "s3x: No such file or directory" in capsys.readouterr().err
