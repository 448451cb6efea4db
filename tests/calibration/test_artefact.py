"""A calibration file is input: what it cannot mean is refused, in one line, when it is read."""

import json

import msgspec
import pytest

from edge_fiqa.bundle.bundle import SHIPPED, Bundle
from edge_fiqa.calibration.artefact import FILE, Calibration, is_calibration, load_calibration
from edge_fiqa.errors import ConfigError
from tests.causes import limits_of

HOSTILE = {
    "gate": 400,
    "exits": [],
    "exits ": [3, 6],
    "rules/FW/depths": [],
    "rules/FW/promises/0/gates": [1.0],
    "rules/FW/promises/0/gates ": [-1.0] * 101,
    "rules/FW/promises/0/gates  ": [1e300] * 101,
    "rules/FW/promises/0/all_gates": 0,
    "rules/FW/promises/0/risk": 9,
    "rules/FW/promises/0/confidence": -1,
    "rules/FW/depths/0/full": {"x": [], "y": []},
    "rules/FW/depths/0/full/x": [0],
    "rules/FW/depths/0/full ": {"x": [1, 0], "y": [0, 1]},
    "rules/FW/depths/0/full  ": {"x": [0, 1], "y": [1, 0]},
    "rules/FW/depths/0/full   ": {"x": [0, 1], "y": [0, 1e300]},
    "rules/FW/depths/0/spread": {"x": [0], "y": [-1]},
    "rules/FW/scale": {"form": "quantile", "percent": {"x": [0, 1], "y": [-5000, 5000]}},
    "rules/FW/scale ": {"form": "quantile", "percent": {"x": [], "y": []}},
    "rules/FW/scale  ": {"form": "sigmoid", "x0": 1e308, "w": 1e-308},
    "reference/cues": {},
    "reference/cues/chroma/deviation": 0,
    "reference/mean_face": [1, 2],
    "reference/mean_face ": [10**18] * 784,
}


@pytest.mark.parametrize("where", HOSTILE)
def test_what_cannot_be_is_refused_when_it_is_read(where, tmp_path):
    path = tmp_path / "c.json"
    content = json.loads((SHIPPED["nano"] / FILE).read_bytes())
    *parents, last = where.strip().split("/")
    place = content
    for key in parents:
        place = place[int(key) if key.isdigit() else key]
    assert last in place
    place[last] = HOSTILE[where]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigError, match="is not a calibration") as refused:
        load_calibration(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_shipped_ones_are_read():
    for folder in SHIPPED.values():
        manifest = Bundle.open(folder).manifest
        shipped = load_calibration(folder / FILE, manifest.fingerprint)
        assert shipped.exits == manifest.exits
        assert "FW" in shipped.rules


def test_a_changed_number_is_noticed(tmp_path):
    """A digit that flips is a calibration too, and would move every quality."""
    calibration = Bundle.open("nano").calibration
    path = tmp_path / "c.json"
    calibration.save(path)
    assert load_calibration(path) == calibration
    assert load_calibration(path).id == calibration.id
    text = path.read_text(encoding="utf-8")
    content = json.loads(text)
    content["rules"]["FW"]["depths"][3]["low"] += 0.125
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"c\.json is damaged or was changed.* delete its sha256"):
        load_calibration(path)
    del content["sha256"]  # changed on purpose, and files of older versions
    path.write_text(json.dumps(content), encoding="utf-8")
    assert (
        load_calibration(path).rules["FW"].depths[3].low
        == content["rules"]["FW"]["depths"][3]["low"]
    )
    path.write_text(json.dumps(json.loads(text), indent=8, sort_keys=True), encoding="utf-8")
    assert load_calibration(path) == calibration  # the same content in another form


def test_what_a_calibration_may_replace(tmp_path):
    path = tmp_path / "c.json"
    for content, ours in [(b"\xff\xd8photo", False), (b"[]", False), (b'{"schema": "x/1"}', False)]:
        path.write_bytes(content)
        assert is_calibration(path) == ours
    Bundle.open("nano").calibration.save(path)
    assert is_calibration(path)
    assert not is_calibration(tmp_path / "absent")


def limits_for(exits):
    return limits_of(("yaw", "noise"), exits, ((1.5, 2.0), *(None,) * (len(exits) - 1)))


def test_limits_of_causes_are_kept_and_belong_to_its_name(tmp_path):
    path = tmp_path / "c.json"
    shipped = load_calibration(SHIPPED["nano"] / FILE)
    with_limits = msgspec.structs.replace(shipped, causes=limits_for(shipped.exits))
    with_limits.save(path)
    assert load_calibration(path) == with_limits
    assert with_limits.id != shipped.id


def test_limits_of_causes_for_other_exits_are_refused():
    shipped = load_calibration(SHIPPED["nano"] / FILE)
    fields = msgspec.structs.asdict(shipped)
    with pytest.raises(ConfigError, match="limits of causes"):
        Calibration(**{**fields, "causes": limits_for((99,))})


def test_a_calibration_without_causes_is_written_as_before(tmp_path):
    path = tmp_path / "c.json"
    load_calibration(SHIPPED["nano"] / FILE).save(path)
    assert path.read_bytes() == (SHIPPED["nano"] / FILE).read_bytes()
