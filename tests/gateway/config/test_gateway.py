"""gateway.yaml: five lines, and errors that say where."""

import contextlib

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_fiqa.errors import ConfigError
from edge_fiqa.gateway.config.gateway import load_config

PASSWORD = "p4ss:word"


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yunet.onnx").write_bytes(b"")

    def load(text, **environment):
        (tmp_path / "gateway.yaml").write_text(text, encoding="utf-8")
        return load_config(tmp_path / "gateway.yaml", environment)

    return load


@pytest.fixture(autouse=True)
def _no_detector(monkeypatch):
    monkeypatch.setenv("EDGE_FIQA_DETECTOR", "none")


def test_cameras_take_the_detector_that_there_is(load, shared, monkeypatch):
    file = shared / "data/models/yunet_n_640_640.onnx"
    monkeypatch.setenv("EDGE_FIQA_DETECTOR", str(file))
    assert load("cameras: {a: 0}").detector.model == file
    config = load("detector: {longest_side: 480}\ncameras: {a: 0}")
    assert (config.detector.model, config.detector.longest_side) == (file, 480)
    assert load("http: {}").detector is None


def mistake(load, text, **environment):
    with pytest.raises(ConfigError) as caught:
        load(text, **environment)
    return str(caught.value).replace(str(caught.value).split("gateway.yaml")[0], "")


def test_five_lines_suffice(load):
    config = load(
        "detector: yunet.onnx\n"
        "cameras:\n"
        "  door: rtsp://viewer:${CAM_PASSWORD}@10.0.0.5/stream\n"
        "mqtt:\n"
        "  host: localhost\n",
        CAM_PASSWORD=PASSWORD,
    )
    door = config.cameras["door"]
    assert (door.address, door.kind) == (f"rtsp://viewer:{PASSWORD}@10.0.0.5/stream", "stream")
    assert PASSWORD not in repr(config) + str(config) + config.model_dump_json()
    assert config.model == "nano"
    assert config.deadline_of(door) == 0.5


def test_kinds_of_sources(load, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "a.avi").write_bytes(b"")
    config = load(
        "detector: yunet.onnx\ncameras:\n  a: 0\n  b: photos\n  c: a.avi\n  d: {source: 1, fps: 2}\n"
    )
    kinds = {name: camera.kind for name, camera in config.cameras.items()}
    assert kinds == {"a": "webcam", "b": "images", "c": "file", "d": "webcam"}
    assert [camera.tracks for camera in config.cameras.values()] == [True, False, True, True]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "detector: yunet.onnx\ncameras:\n  door: {source: 0, fpss: 3}",
            "gateway.yaml, line 3, cameras.door.fpss: unknown key; did you mean fps?",
        ),
        (
            "detector: yunet.onnx\ncameras:\n  door:\n    source: 0\n    fps: fast",
            "gateway.yaml, line 5, cameras.door.fps: must be a number, not text",
        ),
        (
            "detector: yunet.onnx\ncameras:\n  door: {fps: 3}",
            "gateway.yaml, line 3, cameras.door.source: is needed, and missing",
        ),
        (
            "detector: yunet.onnx\ncameras:\n  front door: 0",
            "gateway.yaml, line 3, cameras.front door: must be a name of 1 to 64 letters, digits",
        ),
        ("cameras:\n  door: 0", "gateway.yaml: cameras need a detector: run pip install"),
        ("model: nano", "gateway.yaml: nothing to do"),
        ("detector: no.onnx\ncameras: {a: 0}", "gateway.yaml, line 1, detector: no such file"),
        (
            "detector: yunet.onnx\ncameras:\n  a: 0\n  b: movie.avi",
            "gateway.yaml, line 4, cameras.b: no such file or folder",
        ),
        (
            "detector: yunet.onnx\nmodel: huge\ncameras: {a: 0}",
            "gateway.yaml, line 2, model: neither",
        ),
        ("detector: yunet.onnx\nshedule: {}\ncameras: {a: 0}", "did you mean schedule?"),
        (
            "best_shot:\n  gate: 400\nhttp: {}",
            "gateway.yaml, line 2, best_shot.gate: must be at most 100, not 400",
        ),
        (
            "detector: {modle: yunet.onnx}\nhttp: {}",
            "gateway.yaml, line 1, detector.modle: unknown key; did you mean model?",
        ),
        ("http:\n  port: x", "gateway.yaml, line 2, http.port: must be a whole number, not text"),
        ("http:\n  host: 0.0.0.0", "gateway.yaml, line 1, http: host 0.0.0.0 is seen by other"),
        ("cameras:\n  a: 0\n  a: 1", "gateway.yaml, line 3: a is there twice"),
        ("cameras: [\n", "gateway.yaml, line 2: not YAML"),
        ("- a\n- b", "gateway.yaml: expected keys"),
        ("", "gateway.yaml: expected keys"),
        ("? [a]\n: b", "gateway.yaml, line 1: a key must be a word"),
        ("a: &x\n  b: *x", "nested too deeply"),
        ("a: !!python/object:os.system x", "not YAML"),
    ],
)
def test_errors_name_line_and_key(load, text, says):
    assert says in mistake(load, text)


def test_all_mistakes_are_said_at_once(load):
    said = mistake(load, "best_shot:\n  gate: 400\n  clearly: -1\nhttp: {}")
    assert len(said.splitlines()) == 2


def test_a_missing_variable_is_named(load):
    said = mistake(load, "http: {}\ncameras:\n  door: rtsp://u:${NOT_THERE}@h/x")
    assert (
        said == "gateway.yaml, line 3, cameras.door: the environment variable NOT_THERE is not set"
    )


def test_a_camera_that_is_not_enabled_is_as_if_it_were_not_there(load, monkeypatch):
    monkeypatch.delenv("NOT_THERE", raising=False)
    config = load(
        "detector: yunet.onnx\ncameras:\n"
        "  a: 0\n"
        "  b: {source: no-such-file.avi, enabled: false}\n"
        "  c: {source: rtsp://h/s, username: u, password_env: NOT_THERE, enabled: false}\n"
    )
    assert list(config.enabled_cameras) == ["a"]
    assert "nothing to do" in mistake(load, "cameras: {a: {source: 0, enabled: false}}")
    assert load("http: {}\ncameras: {a: {source: 0, enabled: false}}").detector is None


@pytest.mark.parametrize("password", ["a#secret", "a/secret", "a?secret", "a@secret", "a%secret"])
def test_a_password_that_would_be_cut_names_the_remedy(load, password):
    text = "detector: yunet.onnx\ncameras:\n  door: rtsp://u:${PW}@h/"
    said = mistake(load, text, PW=password)
    assert said.startswith("gateway.yaml, line 3, cameras.door: ")
    assert "`username` and `password_env`" in said
    assert "secret" not in said


def test_a_camera_s_password_that_is_not_set(load, monkeypatch):
    monkeypatch.delenv("CAM_PASSWORD", raising=False)
    door = "{source: rtsp://h/s, username: u, password_env: CAM_PASSWORD}"
    said = mistake(load, f"detector: yunet.onnx\ncameras:\n  door: {door}")
    assert said == (
        "gateway.yaml, line 3, cameras.door: password_env: the environment variable CAM_PASSWORD is "
        "not set"
    )


def test_no_error_quotes_a_secret(load):
    text = "detector: yunet.onnx\ncameras:\n  door: {source: 'rtsp://u:${PW}@h/', fps: '${PW}'}"
    said = mistake(load, text, PW=PASSWORD)
    assert "line 3, cameras.door.fps" in said
    assert PASSWORD not in said


def test_aliases_that_multiply_are_refused(load):
    layers = "\n".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(9))
    assert "not a configuration" in mistake(load, f"a0: &a0 [x]\n{layers}")


def test_the_file_itself(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not text"):
        load_config(tmp_path / "binary.yaml")


WORDS = st.sampled_from(
    [
        "cameras",
        "detector",
        "source",
        "fps",
        "http",
        "mqtt",
        "best_shot",
        "gate",
        "<<",
        "a",
        "~",
        "1e999",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_no_tree_of_values_is_more_than_a_mistake(tmp_path_factory, value):
    _refused_or_read(tmp_path_factory, yaml.safe_dump(value))


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-?[]{}&*!|>'\"#%@`,\n \t0.1~<=${}\\"), max_size=60))
def test_no_text_is_more_than_a_mistake(tmp_path_factory, text):
    _refused_or_read(tmp_path_factory, text)


def _refused_or_read(tmp_path_factory, text):
    file = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    file.write_text(text, encoding="utf-8")
    with contextlib.suppress(ConfigError):
        load_config(file, {})
