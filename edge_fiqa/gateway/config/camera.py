"""One camera in a gateway's configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from edge_fiqa.errors import ConfigError
from edge_fiqa.gateway.config.address import STREAM, read_address, with_user
from edge_fiqa.gateway.config.decode import DecodeConfig
from edge_fiqa.gateway.config.motion import MotionConfig
from edge_fiqa.gateway.config.patterns import OPTION
from edge_fiqa.gateway.config.polygon import AreaName, Polygon, Polygons
from edge_fiqa.gateway.config.section import Section, secret, secret_of_file

OptionName = Annotated[str, Field(pattern=OPTION)]
Kind = Literal["stream", "file", "webcam", "images"]
OF_ITS_FRAMES = ("deadline_s", "masks", "motion", "required_zones", "zones")
"""Keys that say what is done with frames, and nothing of where they come from."""


class CameraConfig(Section):
    """One camera.

    source: rtsp:// or http:// address, video file, folder of images, or a webcam's number.
    username: of a stream, put into its address; null: as the address says.
    password_env: name of the variable that holds its password.
    password_file: file that holds it instead; a line break at its end does not count.
    enabled: false: as if the camera were not in the file.
    rotate: by so many degrees clockwise before anything is looked at.
    transport: of RTSP; udp where a camera knows nothing else.
    ffmpeg: more options of FFmpeg for a stream, by name, as text.
    fps: frames in a second that the detector gets.
    deadline_s: from a frame's arrival to the answer about its faces; null: schedule.deadline_s.
    stale_s: without a frame for longer, the camera is stale.
    timeout_s: for opening and reading a stream.
    loop: begin a file or folder anew at its end.
    track: follow people from frame to frame; null: except in a folder of images.
    motion: null: as the gateway's.
    decode: which part of the machine decodes its stream.
    masks: polygons that are blackened before anything looks at the picture, with names or without.
    zones: polygons by name; a face is in those that its middle is in.
    required_zones: people who were in none of these are not announced; none: everybody is.
    """

    source: SecretStr
    username: str | None = Field(default=None, min_length=1, max_length=64)
    password_env: str | None = Field(default=None, min_length=1)
    password_file: Path | None = None
    enabled: bool = True
    rotate: Literal[0, 90, 180, 270] = 0
    transport: Literal["tcp", "udp"] = "tcp"
    ffmpeg: dict[OptionName, str] = Field(default_factory=dict, max_length=20)
    fps: float = Field(default=10.0, gt=0, le=60)
    deadline_s: float | None = Field(default=None, gt=0, le=60)
    stale_s: float = Field(default=5.0, gt=0)
    timeout_s: float = Field(default=5.0, gt=0, le=60)
    loop: bool = False
    track: bool | None = None
    motion: MotionConfig | None = None
    decode: DecodeConfig = DecodeConfig()
    masks: Polygons = ()
    zones: dict[AreaName, Polygon] = Field(default_factory=dict)
    required_zones: tuple[str, ...] = ()

    @field_validator("required_zones", mode="before")
    @classmethod
    def _is_list(cls, names: Any) -> Any:
        if isinstance(names, str):
            raise ValueError(f"give a list of zones: [{names}]")
        return names

    @field_validator("required_zones")
    @classmethod
    def _known(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "zones" not in info.data:  # one of them is wrong, and said to be so
            return names
        zones: dict[str, Polygon] = info.data["zones"]
        for name in names:
            if not zones:
                raise ValueError(f"this camera has no zones: draw {name} under `zones`")
            if name not in zones:
                raise ValueError(f"{name} is none of this camera's zones ({', '.join(zones)})")
        return names

    @model_validator(mode="after")
    def _check(self) -> CameraConfig:
        secrets = [self.password_env, self.password_file]
        if self.username is None and any(secrets):
            raise ValueError("password_env and password_file need username")
        if self.username is not None and sum(secret is not None for secret in secrets) != 1:
            raise ValueError("username needs password_env or password_file")
        if self.kind == "stream":
            address = read_address(self.source.get_secret_value())
            if self.username is not None and address.user_info is not None:
                raise ValueError("the address has a user name already: leave it out of `source`")
        else:
            given = ("username", "transport", "ffmpeg")
            for key in (key for key in given if key in self.model_fields_set):
                raise ValueError(f"{key} is for streams")
        self._check_decode()
        return self

    def _check_decode(self) -> None:
        """Raises ValueError for what would be accepted and do nothing."""
        if "transport" in self.model_fields_set and not self._scheme.startswith("rtsp"):
            raise ValueError("transport is for rtsp:// addresses")
        if self.decode == DecodeConfig():
            return
        if self.kind in ("webcam", "images"):
            raise ValueError("decode is for streams and files")
        for key in ("transport", "ffmpeg"):
            if key in self.model_fields_set:
                raise ValueError(
                    f"{key} is not used where `decode` is given: leave one of them out"
                )

    @property
    def _scheme(self) -> str:
        return self.source.get_secret_value().partition("://")[0].lower()

    @property
    def address(self) -> str:
        """With its password, for OpenCV alone. Raises ConfigError where there is none.

        A password is read anew each time: one that was changed in its file is taken up.
        """
        source = self.source.get_secret_value()
        if self.username is None:
            return source
        try:
            return with_user(source, self.username, self._password())
        except ValueError as exc:
            raise ConfigError(str(exc)) from None

    def _password(self) -> str:
        if self.password_file is not None:
            return secret_of_file(self.password_file, "password_file")
        return secret(self.password_env or "", "password_env")

    @property
    def kind(self) -> Kind:
        source = self.source.get_secret_value()
        if source.isdecimal():
            return "webcam"
        if STREAM.fullmatch(source):
            return "stream"
        # Path.is_dir raises for names that are too long.
        return "images" if os.path.isdir(source) else "file"  # noqa: PTH112

    @property
    def mask_polygons(self) -> tuple[Polygon, ...]:
        return tuple(self.masks.values() if isinstance(self.masks, dict) else self.masks)

    def same_source(self, other: CameraConfig) -> bool:
        """Whether frames of `other` come from the same source in the same way."""
        return self.model_copy(update={key: getattr(other, key) for key in OF_ITS_FRAMES}) == other

    @property
    def shows(self) -> tuple[str, int]:
        """Which picture it is: what stands still in another one is something else."""
        return self.source.get_secret_value(), self.rotate

    @property
    def tracks(self) -> bool:
        return self.kind != "images" if self.track is None else self.track
