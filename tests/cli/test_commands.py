"""build, info, doctor, demo, and the command itself."""

import json
import re
import subprocess
import sys

import msgspec
import pytest
from PIL import Image

from edge_fiqa import __version__
from edge_fiqa.build.builder import synthetic_faces
from edge_fiqa.bundle.manifest import Manifest
from edge_fiqa.cli import COMMANDS, main
from edge_fiqa.engines.forms import TunedForm


def run(capsys, *arguments):
    try:
        status = main([str(a) for a in arguments])
    except SystemExit as exc:
        status = exc.code
    out, err = capsys.readouterr()
    return status, out, err


def test_help_lists_every_command(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for name in COMMANDS:
        assert name in out
        assert run(capsys, name, "--help")[0] == 0


def test_version_and_module():
    done = subprocess.run(
        [sys.executable, "-m", "edge_fiqa", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"edge-fiqa {__version__}"


@pytest.mark.parametrize("arguments", [[], ["scor"], ["score"], ["score", "--nope", "x"]])
def test_usage_errors_have_status_2(capsys, arguments):
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert "usage:" in err


def test_build_then_info(capsys, checkpoint, tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    for number, face in enumerate(synthetic_faces(5)):
        Image.fromarray(face).save(folder / f"{number}.png")
    (folder / "bad.png").write_bytes(b"x")
    target = tmp_path / "bundle"
    flags = ("--backend", "ort", "--precision", "int8", "--segments", "2")
    status, out, err = run(
        capsys, "build", checkpoint, "-o", target, *flags, "--calibration-images", folder
    )
    assert status == 0, err
    assert "1 unusable image left out" in err
    status, again, _ = run(capsys, "info", target)
    assert again == out
    assert "int8" in out
    assert [line.split()[0] for line in out.splitlines()[-2:]] == ["2", "4"]
    status, out, _ = run(capsys, "info", target, "--format", "json")
    assert msgspec.json.decode(out, type=Manifest).exits == (2, 4)


def test_what_build_refuses(capsys, checkpoint, tmp_path):
    for arguments, message in [
        ((checkpoint, "-o", tmp_path / "b", "--precision", "int8"), "--calibration-images"),
        ((checkpoint, "-o", tmp_path / "b", "--backend", "trt"), "backend 'trt'"),
        ((checkpoint, "-o", tmp_path / "b", "--segments", "5"), "do not divide"),
        ((checkpoint, "-o", tmp_path / "b", "--segments", "1,9"), "must rise and end with"),
        ((checkpoint, "-o", tmp_path / "b", "--heads", "3"), "not divisible"),
        ((tmp_path / "absent.pt", "-o", tmp_path / "b"), "no such checkpoint"),
        ((checkpoint, "-o", tmp_path, "--backend", "ort"), "--force"),
        ((checkpoint, "-o", tmp_path / "b", "--recipe", tmp_path / "absent.yaml"), "absent.yaml"),
        (
            (checkpoint, "-o", tmp_path / "b", "--calibration-images", tmp_path),
            "no aligned 112x112",
        ),
        (
            (checkpoint, "-o", tmp_path / "b", "--calibration-limit", "9"),
            "--calibration-limit is about --calibration-images",
        ),
        (
            (checkpoint, "-o", tmp_path / "b", "--ranges", "minmax", "--precision", "fp16"),
            "--ranges is about --precision int8",
        ),
    ]:
        status, _, err = run(capsys, "build", *arguments)
        assert status == 2
        assert message in err
        assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_reduced_precision_that_no_face_checked_is_said(capsys, checkpoint, tmp_path):
    flags = ("--heads", 2, "--precision")
    status, _, err = run(capsys, "build", checkpoint, "-o", tmp_path / "16", *flags, "bf16")
    assert status == 0
    assert "what bf16 loses was not checked on faces; give --calibration-images with 100" in err
    assert run(capsys, "build", checkpoint, "-o", tmp_path / "32", *flags, "fp32")[2] == ""


def test_info_of_what_is_no_bundle(capsys, tmp_path):
    status, _, err = run(capsys, "info", tmp_path)
    assert status == 2
    assert err.count("\n") == 1


def test_doctor_on_a_sound_bundle(capsys, bundle):
    status, out, _ = run(capsys, "doctor", "--bundle", bundle.folder)
    assert status == 0
    for backend in ("ov", "ort", "pt"):
        assert f"  {backend:<4} yes: every exit agrees with the golden scores" in out
    assert "numpy" in out
    assert "tensorrt" in out


def test_flags_of_doctor_that_would_do_nothing_are_refused(capsys, bundle, tmp_path):
    for arguments, message in [
        (("--report", tmp_path / "r.json"), "--report needs --device"),
        (("--tune", "--bundle", bundle.folder), "--bundle does nothing beside --tune"),
        (("--tune", "--device"), "--device does nothing beside --tune"),
    ]:
        status, out, err = run(capsys, "doctor", *arguments)
        assert (status, out) == (2, "")
        assert message in err


def test_doctor_and_info_say_which_form_is_taken_and_tuning_changes_it(
    capsys, monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    form = TunedForm("fp32", "ort", {"fp32 ort": 2.0, "int8 ov": 3.5})
    monkeypatch.setattr("edge_fiqa.cli.doctor.fastest_form", lambda model, threads: form)
    status, out, _ = run(capsys, "doctor", "--tune")
    assert status == 0
    assert "nano, 1 thread: fp32 on ort  (fp32 ort 2.00 ms, int8 ov 3.50 ms)" in out
    assert str(tmp_path) in out
    assert "small, 1 thread: fp32 on ort" in out
    out = run(capsys, "info", "nano", "--threads", 1)[1]
    assert "nano with 1 thread here: fp32 on ort, as measured here by doctor --tune" in out
    assert "nano-fp32" in out
    assert "int8, 6 segments" in run(capsys, "info", "nano", "--precision", "int8")[1]
    status, out, _ = run(capsys, "doctor")
    assert status == 0
    assert "nano with 1 thread here: fp32 on ort" in out


def test_doctor_notices_an_engine_that_scores_wrongly(capsys, bundle, tmp_path):
    import shutil

    copy = shutil.copytree(bundle.folder, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["golden"][1][2] += 0.01
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    status, out, err = run(capsys, "doctor", "--bundle", copy)
    assert status == 2
    assert out.count("WRONG") == 3
    assert "no engine can score" in err


def test_demo(capsys, bundle, tmp_path):
    target = tmp_path / "demo.png"
    status, out, err = run(
        capsys, "demo", "--bundle", bundle.folder, "--backend", "ov", "--output", target
    )
    assert status == 0, err
    with Image.open(target) as picture:
        assert picture.size[0] > 1000
    rows = [line for line in out.splitlines() if line.startswith(("as taken", "defocus", "ms to"))]
    assert len(rows) == 5
    assert all(len(row.split()) >= 5 for row in rows)
    assert run(capsys, "demo", "--bundle", bundle.folder, "--output", tmp_path / "no/x.png")[0] == 2


def test_demo_names_what_was_made_worse(capsys, tmp_path):
    out = run(capsys, "demo", "--output", tmp_path / "demo.png")[1]
    assert re.search(r"^exit +1 .* causes$", out, re.MULTILINE)
    assert re.search(r"^as taken[ 0-9]+$", out, re.MULTILINE)
    assert re.search(r"^defocus 70%[ 0-9]+  defocus", out, re.MULTILINE)
    assert re.search(r"^occlusion 60%[ 0-9]+  occlusion lower", out, re.MULTILINE)


def test_without_a_command_the_commands_are_listed(capsys):
    assert main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert all(f"\n    {name}" in printed.err for name in COMMANDS)
