"""A plan is used only where everything it was built for is still true."""

import json
import os

import msgspec
import pytest

from edge_fiqa.config import PlanOptions
from edge_fiqa.engines.trt.plans import PlanStore, Target, plan_options
from edge_fiqa.errors import BundleError, EngineFailed
from edge_fiqa.types import Segment
from tests.engines.conftest import in_fork, with_options

HERE = Target("10.3.0", "Orin", "8.7", "12.6", "MAXN", "aarch64-linux")
BODY = Segment(1, 1)


@pytest.fixture
def store(bundle, tmp_path, monkeypatch):
    """store(target, **options) -> the plans of the bundle in one cache."""
    monkeypatch.setenv("EDGE_FIQA_CACHE", str(tmp_path))

    def make(target=HERE, **options):
        return PlanStore(bundle, target, PlanOptions(**options))

    return make


def test_what_was_saved_is_loaded(store):
    one = store()
    assert one.load(BODY, 4) == (None, "it was never built")
    one.save(BODY, 4, b"plan")
    assert store().load(BODY, 4)[0] == b"plan"
    assert store().load(BODY, 8)[0] is None
    assert store(batches=(1, 4), graphs=False, child="always").load(BODY, 4)[0] == b"plan"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tensorrt": "10.3.1"}, "built for tensorrt 10.3.0, this is 10.3.1"),
        ({"device": "Thor"}, "built for device Orin, this is Thor"),
        ({"sm": "11.0"}, "built for sm 8.7"),
        ({"cuda": "13.0"}, "built for cuda 12.6"),
        ({"platform": "x86_64-linux"}, "built for platform aarch64-linux"),
    ],
)
def test_a_plan_of_another_machine_is_stale(store, change, reason):
    store().save(BODY, 1, b"plan")
    moved = msgspec.structs.replace(HERE, **change)
    data, said = store(moved).load(BODY, 1)
    assert data is None
    assert reason in said
    with pytest.raises(EngineFailed, match=rf"{reason}.*; delete it, or set on_mismatch: rebuild"):
        store(moved, on_mismatch="refuse").load(BODY, 1)
    store(moved).save(BODY, 1, b"new")
    assert store(moved).load(BODY, 1)[0] == b"new"


def test_power_modes_have_plans_of_their_own(store):
    store().save(BODY, 1, b"plan")
    quiet = msgspec.structs.replace(HERE, power_mode="15W")
    assert store(quiet).load(BODY, 1) == (None, "it was never built")
    assert store(quiet).timing != store().timing
    store(quiet).save(BODY, 1, b"slow")
    assert store().load(BODY, 1)[0] == b"plan"


@pytest.mark.parametrize("option", [{"level": 5}, {"tf32": True}, {"workspace_mb": 64}])
def test_other_options_make_it_stale(store, option):
    store().save(BODY, 1, b"plan")
    assert store(**option).load(BODY, 1) == (None, "it was built with other options")


def test_a_compatible_plan_is_good_for_later_versions_only(store):
    later, earlier = (msgspec.structs.replace(HERE, tensorrt=v) for v in ("11.4.0", "10.2.9"))
    store(version_compatible=True).save(BODY, 1, b"plan")
    assert store(later, version_compatible=True).load(BODY, 1)[0] == b"plan"
    assert store(earlier, version_compatible=True).load(BODY, 1)[0] is None


def test_damage_is_noticed(store):
    one = store()
    path = one.path(BODY, 1)
    manifest = path.with_name(path.name + ".json")
    one.save(BODY, 1, b"plan")
    path.write_bytes(b"pLan")
    assert one.load(BODY, 1) == (None, "it is damaged or was changed")
    one.save(BODY, 1, b"plan")
    said = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**said, "onnx": "0" * 64}), encoding="utf-8")
    assert one.load(BODY, 1) == (None, "it was built from another model")
    manifest.write_text("{", encoding="utf-8")
    assert one.load(BODY, 1)[1].startswith("its manifest is damaged")
    manifest.unlink()
    assert one.load(BODY, 1)[1].startswith("its manifest cannot be read")


def test_a_plan_of_another_segment_is_not_taken(store):
    one = store()
    one.save(BODY, 1, b"plan")
    path, other = one.path(BODY, 1), one.path(Segment(2, 2), 1)
    other.write_bytes(path.read_bytes())
    other.with_name(other.name + ".json").write_bytes(
        path.with_name(path.name + ".json").read_bytes()
    )
    assert one.load(Segment(2, 2), 1) == (None, "it is the plan of body-01-01 for batch 1")


def test_what_everyone_may_write_is_not_code_to_run(store):
    one = store()
    one.save(BODY, 1, b"plan")
    one.path(BODY, 1).chmod(0o666)
    assert "everyone may write" in one.load(BODY, 1)[1]


def test_no_place_to_write(bundle, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("EDGE_FIQA_CACHE", str(tmp_path / "file"))
    one = PlanStore(bundle, HERE, PlanOptions())
    assert not one.keeps
    assert "Not a directory" in caplog.text
    assert "set EDGE_FIQA_CACHE" in caplog.text
    one.save(BODY, 1, b"plan")
    assert one.lacks(BODY, 1)
    assert one.load(BODY, 1) == (None, "it was never built")
    temporary = one.timing.parent
    assert temporary.is_dir()
    one.close()
    assert not temporary.exists()


def test_a_user_without_a_home(homeless, bundle, caplog):
    one = PlanStore(bundle, HERE, PlanOptions())
    assert not one.keeps
    assert one.lacks(BODY, 1)
    assert "set EDGE_FIQA_CACHE" in caplog.text
    one.close()


def test_a_cache_that_may_not_be_looked_into(bundle, tmp_path, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    monkeypatch.setenv("EDGE_FIQA_CACHE", str(tmp_path))
    PlanStore(bundle, HERE, PlanOptions()).save(BODY, 1, b"plan")
    tmp_path.chmod(0o700)

    def as_another():
        os.setuid(4711)
        one = PlanStore(bundle, HERE, PlanOptions())
        found = one.keeps, one.load(BODY, 1)[0], one.lacks(BODY, 1)
        one.close()
        return found

    assert in_fork(as_another) == "(False, None, True)"


def test_what_is_lacking_is_known_without_reading_plans(store):
    one = store()
    assert one.lacks(BODY, 4)
    one.save(BODY, 4, b"plan")
    assert not one.lacks(BODY, 4)
    assert store(level=5).lacks(BODY, 4)
    one.path(BODY, 4).write_bytes(b"pLan")
    assert not one.lacks(BODY, 4)  # only loading finds it
    assert one.load(BODY, 4)[0] is None


def test_a_bundle_whose_exits_the_host_decided_still_opens(bundle, tmp_path):
    older = with_options(bundle, tmp_path, batches=(1, 8), exit_on="host")
    assert b"exit_on" in (older.folder / "tensorrt.json").read_bytes()
    assert plan_options(older) == PlanOptions(batches=(1, 8))
    assert b"exit_on" not in msgspec.json.encode(plan_options(older))


def test_a_bundle_whose_exits_the_device_decided_says_what_to_do(bundle, tmp_path):
    older = with_options(bundle, tmp_path, exit_on="device")
    said = r"tensorrt\.json: exit_on: device was removed, .*; rebuild the bundle"
    with pytest.raises(BundleError, match=said):
        plan_options(older)


@pytest.mark.parametrize(
    "wrong", [{"batches": ()}, {"batches": (4, 2)}, {"batches": (0, 1)}, {"batches": (1, 65)},
              {"level": 6}, {"workspace_mb": -1}, {"workspace_mb": 1}],
)  # fmt: skip
def test_options_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=r"batches|level|workspace_mb"):
        PlanOptions(**wrong)
