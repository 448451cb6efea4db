"""What the scores of one file have in common."""

import pytest

from edge_fiqa.policies.policy import Budget, Convergence, Fixed
from edge_fiqa.scoring.run_settings import settings_of
from edge_fiqa.scoring.scorer import Scorer


@pytest.fixture(scope="module")
def scorer(bundle):
    with Scorer.open(bundle, backend="ov") as scorer:
        yield scorer


def settings(scorer, *policies, landmarks=None, detector=None, min_eye_px=10.0):
    return settings_of(
        scorer,
        policies or (Fixed(),),
        gate=None,
        audit_share=None,
        detector=detector,
        landmarks=landmarks,
        min_eye_px=min_eye_px,
    )


def test_a_policy_and_each_of_its_numbers_count(scorer):
    policies = [
        (Fixed(),),
        (Fixed(2),),
        (Budget(gflops=1.0),),
        (Budget(gflops=1.0000001),),
        (Convergence(),),
        (Convergence(eps=0.04),),
        (Fixed(2), Convergence()),
    ]
    all_settings = [settings(scorer, *policy) for policy in policies]
    for i, first in enumerate(all_settings):
        for k, second in enumerate(all_settings):
            difference = first.difference(second.described)
            assert (difference is None) == (i == k), (policies[i], policies[k])


def test_the_last_exit_is_full_depth(scorer):
    assert settings(scorer, Fixed(4)).difference(settings(scorer).described) is None


def test_faces_that_were_aligned_otherwise(scorer, tmp_path):
    file = tmp_path / "points.csv"
    file.write_text("a.png,1,2,3,4,5,6,7,8,9,0\n", encoding="utf-8")
    before = settings(scorer, landmarks=file)
    assert "faces from" in settings(scorer).difference(before.described)
    other = settings(scorer, landmarks=file, min_eye_px=12)
    assert "smallest eye distance: 10 pixels there, 12" in other.difference(before.described)
    with file.open("a", encoding="utf-8") as grown:
        grown.write("b.png,1,2,3,4,5,6,7,8,9,0\n")
    assert settings(scorer, landmarks=file).difference(before.described) is None
    file.write_text("a.png,1,2,3,4,5,6,7,8,9,9\n", encoding="utf-8")
    assert "landmarks file" in settings(scorer, landmarks=file).difference(before.described)


def test_another_detector(scorer, tmp_path):
    first, second = tmp_path / "1.onnx", tmp_path / "2.onnx"
    first.write_bytes(b"1")
    second.write_bytes(b"2")
    before = settings(scorer, detector=first).described
    assert "detector: sha256:" in settings(scorer, detector=second).difference(before)
    first.rename(tmp_path / "3.onnx")
    assert settings(scorer, detector=tmp_path / "3.onnx").difference(before) is None
