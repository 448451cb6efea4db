"""gateway.yaml: what the file may say. Five lines suffice:

    detector: face_detection_yunet_2023mar.onnx
    cameras:
      door: rtsp://viewer:${CAM_PASSWORD}@192.168.1.20/stream1
    mqtt:
      host: localhost

Frozen models; unknown keys are errors; every error names file, line and key, and quotes no text.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from edge_fiqa.bundle.bundle import SHIPPED
from edge_fiqa.config import BackendName
from edge_fiqa.engines.detector import DetectorBackend
from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.detector import NO_DETECTOR
from edge_fiqa.faces.detector_file import AUTO, find_detector
from edge_fiqa.gateway.config.camera import CameraConfig
from edge_fiqa.gateway.config.mistakes import mistake
from edge_fiqa.gateway.config.motion import MotionConfig
from edge_fiqa.gateway.config.outputs import FileConfig, HttpConfig, MqttConfig, StoreConfig
from edge_fiqa.gateway.config.patterns import NAME
from edge_fiqa.gateway.config.section import Section
from edge_fiqa.gateway.config.yaml_lines import Document, Place, read_lines

Name = Annotated[str, Field(pattern=NAME)]
QualityValue = Annotated[int, Field(ge=0, le=100)]
SURE = 0.84
"""Score of the detector: backs of heads reach 0.83 in clips of real people, with quality 2 to 4. Faces
with less have quality 17 and more."""


def _as_mapping(key: str) -> BeforeValidator:
    """`door: rtsp://...` is short for `door: {source: rtsp://...}`."""

    def widen(value: Any) -> Any:
        plain = isinstance(value, str | int | Path) and not isinstance(value, bool)
        mapping = {key: value} if plain else value
        if isinstance(mapping, Mapping) and isinstance(mapping.get(key), int | Path):
            mapping = {**mapping, key: str(mapping[key])}
        return mapping

    return BeforeValidator(widen)


class DetectorConfig(Section):
    """The face detector.

    model: YuNet's ONNX file, or auto for the one that `edge-fiqa detector` shows.
    longest_side: to which frames are reduced; half of it costs a third.
    threads: of one detection.
    backend: the library that computes it; null: OpenVINO, or OpenCV where that is missing.
    """

    model: Path = Path(AUTO)
    longest_side: int = Field(default=640, ge=64, le=4096)
    min_score: float = Field(default=0.6, gt=0, lt=1)
    threads: int = Field(default=1, ge=1)
    backend: DetectorBackend | None = None


class FacesConfig(Section):
    """Which faces are not worth scoring.

    min_eye_px: pixels between the eyes.
    max_roll: degrees.
    max_turn: see gateway/tracks/face_finder.py; 0 is frontal, 0.9 about 40 degrees.
    """

    min_eye_px: float = Field(default=12.0, ge=1)
    max_roll: float = Field(default=40.0, gt=0, le=180)
    max_turn: float = Field(default=0.9, gt=0)


class BestShotConfig(Section):
    """The best face of a person.

    gate: faces of this quality or more are accepted; null: no face is called accepted or refused.
    floor: a face below it is shown to nobody: backs of heads, and what is no face.
    unsure_floor: the same for faces of which the detector is less than SURE.
    good: a person with a face of this quality has a good shot; null: the gate, else 60.
    good_interval_s: such a person is scored once in so many seconds; 0: in every frame.
    clearly: by how many points an update is better than the event before it.
    lost_s: a person who is not seen for longer has left.
    stationary_s: a face that does not move for longer is a poster's: its track ends, and it is nobody
    until it moves; null: never. People who come to a poster's place are nobody until they leave it.
    longest_track_s: a track ends after it, and the person goes on as a new one; null: never.
    """

    gate: QualityValue | None = None
    floor: QualityValue = 3
    unsure_floor: QualityValue = 10
    good: QualityValue | None = None
    good_interval_s: float = Field(default=0, ge=0, le=60)
    clearly: float = Field(default=5.0, ge=0, le=100)
    lost_s: float = Field(default=2.0, gt=0, le=60)
    stationary_s: float | None = Field(default=None, ge=10)
    longest_track_s: float | None = Field(default=None, ge=10)

    def floor_of(self, detector_score: float) -> int:
        """The floor of a face with this score of the detector."""
        return self.floor if detector_score >= SURE else max(self.floor, self.unsure_floor)

    @property
    def good_quality(self) -> int:
        """The value of `good`, or what null stands for."""
        if self.good is not None:
            return self.good
        return 60 if self.gate is None else self.gate


class ScheduleConfig(Section):
    """When and how deep faces are scored.

    deadline_s: from a frame's arrival to the answer.
    least_exit: grant no face less depth; only a policy stops before it.
    utilisation: share of the workers' time to plan for.
    margin_s: answers are planned that much before their deadline.
    policy: stop before the granted depth where the decision is certain (gate) or the score has
    converged (convergence).
    """

    deadline_s: float = Field(default=0.5, gt=0, le=60)
    least_exit: int = Field(default=2, ge=1)
    utilisation: float = Field(default=0.9, gt=0, le=1)
    margin_s: float = Field(default=0.01, ge=0, le=1)
    policy: Literal["full", "gate", "convergence"] = "full"


class GatewayConfig(Section):
    """The whole file.

    model: a shipped model or a bundle's folder. workers: threads that score. detectors: threads that
    detect faces, each in the frames of another camera.
    """

    cameras: dict[Name, Annotated[CameraConfig, _as_mapping("source")]] = Field(
        default_factory=dict
    )
    detector: Annotated[DetectorConfig, _as_mapping("model")] | None = None
    detectors: int = Field(default=1, ge=1, le=64)
    motion: MotionConfig = MotionConfig()
    model: str = "nano"
    backend: BackendName | None = None
    workers: int = Field(default=1, ge=1, le=64)
    threads: int = Field(default=1, ge=1)
    faces: FacesConfig = FacesConfig()
    best_shot: BestShotConfig = BestShotConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    mqtt: MqttConfig | None = None
    http: HttpConfig | None = None
    file: FileConfig | None = None
    store: StoreConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> GatewayConfig:
        if not self.enabled_cameras and self.http is None:
            raise ValueError("nothing to do: give `cameras`, or `http` so that faces can be pushed")
        return self

    @property
    def enabled_cameras(self) -> dict[str, CameraConfig]:
        return {name: camera for name, camera in self.cameras.items() if camera.enabled}

    def motion_of(self, camera: CameraConfig) -> MotionConfig:
        """Where nobody is followed, every frame stands for itself and is looked at as a whole."""
        if not camera.tracks:
            return MotionConfig(gate=False)
        return camera.motion or self.motion

    def deadline_of(self, camera: CameraConfig) -> float:
        return camera.deadline_s or self.schedule.deadline_s


def load_config(file: Path, environment: Mapping[str, str] | None = None) -> GatewayConfig:
    """Raises ConfigError with one line for every mistake, each naming file, line and key."""
    document = read_lines(file, environment)
    try:
        config = GatewayConfig.model_validate(document.data)
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
        mistakes = [mistake(document, error, GatewayConfig) for error in errors]
        raise ConfigError(*dict.fromkeys(mistakes)) from None  # its text may hold a secret
    for name, camera in config.enabled_cameras.items():
        _check_source(document, ("cameras", name), camera)
    config = _with_detector(config, document)
    if config.model not in SHIPPED and not os.path.isdir(config.model):  # noqa: PTH112, as below
        raise document.error(("model",), f"neither a folder nor one of {', '.join(SHIPPED)}")
    return config


def _check_source(document: Document, place: Place, camera: CameraConfig) -> None:
    try:
        address = camera.address
    except ConfigError as exc:
        raise document.error(place, str(exc)) from None
    # Path.is_file raises for names that are too long.
    if camera.kind == "file" and not os.path.isfile(address):  # noqa: PTH113
        raise document.error(place, "no such file or folder, and not an address")


def _with_detector(config: GatewayConfig, document: Document) -> GatewayConfig:
    """With the file of the detector: the stated one, or for cameras the one that there is."""
    detector = config.detector
    if detector is None:
        if not config.enabled_cameras:
            return config
        detector = DetectorConfig()
    if str(detector.model) == AUTO:
        file = find_detector()
        if file is None:
            raise document.error(
                (),
                f"cameras need a detector: {NO_DETECTOR}, here `detector: FILE`. Faces pushed over "
                "HTTP as aligned crops or with landmarks need none",
            )
        detector = detector.model_copy(update={"model": file.path})
    elif not os.path.isfile(detector.model):  # noqa: PTH113, as above
        raise document.error(("detector",), f"no such file; {NO_DETECTOR}")
    return config.model_copy(update={"detector": detector})
