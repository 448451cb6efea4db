"""The outputs in a gateway's configuration: sections `mqtt`, `http`, `file`, `store`.

Secrets are never in the file.
It names the environment variable that holds each of them.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from edge_fiqa import files
from edge_fiqa.errors import ConfigError
from edge_fiqa.gateway.config.address import is_host
from edge_fiqa.gateway.config.patterns import HOST, TOPIC, WEBSOCKET
from edge_fiqa.gateway.config.section import Section, secret

TOKEN_CHARACTERS = 16
"""Shorter tokens are refused: they can be guessed."""

Port = Annotated[int, Field(ge=1, le=65535)]
Topic = Annotated[str, Field(pattern=TOPIC, max_length=100)]
HostName = Annotated[str, Field(pattern=HOST)]


def state_folder() -> Path:
    """Where the gateway keeps what must outlive it: systemd's, XDG's, or the user's own."""
    if given := os.environ.get("STATE_DIRECTORY"):  # systemd.exec(5); several are joined by colons
        return Path(given.split(":")[0])
    if (folder := files.state_folder("edge-fiqa")) is None:
        raise ConfigError("this user has no home: set XDG_STATE_HOME or STATE_DIRECTORY")
    return folder


class MqttConfig(Section):
    """mqtt: events, snapshots and statistics to a broker.

    password_env: name of the variable that holds the password.
    ca_file: trust this authority alone.
    cert_file, key_file: of this client, where the broker asks for a certificate.
    websocket: path of the broker's websocket, as /mqtt; null: plain TCP.
    client_id: unique at the broker; null: edge-fiqa-, the machine's name, and a part kept in the spool.
    snapshots: send best shots as JPEG.
    snapshot_px: longest side of them in pixels; a broker that takes less gets smaller ones.
    retain_snapshots: the broker keeps the last one of a camera.
    stats_s: seconds between statistics.
    discovery: Home Assistant's topic, or null for none.
    spool: folder for events that wait for the broker.
    spool_mb: most of them; the oldest are dropped first.
    """

    host: str = Field(min_length=1, max_length=253)
    port: Port | None = None
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    websocket: str | None = Field(default=None, pattern=WEBSOCKET, max_length=200)
    username: str | None = None
    password_env: str | None = None
    client_id: str | None = Field(default=None, min_length=1, max_length=64)
    prefix: Topic = "edge-fiqa"
    snapshots: bool = True
    snapshot_px: int = Field(default=640, ge=64, le=4096)
    retain_snapshots: bool = False
    stats_s: float = Field(default=30.0, ge=1, le=3600)
    discovery: Topic | None = "homeassistant"
    spool: Path = Field(default_factory=lambda: state_folder() / "spool")
    spool_mb: float = Field(default=64.0, gt=0, le=100_000)

    @field_validator("host")
    @classmethod
    def _host(cls, host: str) -> str:
        if not is_host(host):
            raise ValueError("give a host name or IP address alone: no mqtt://, no port, no user")
        return host

    @model_validator(mode="after")
    def _check(self) -> MqttConfig:
        for key in ("ca_file", "cert_file", "key_file"):
            if getattr(self, key) is not None and not self.tls:
                raise ValueError(f"{key} needs tls: true")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if self.password_env is not None and self.username is None:
            raise ValueError("password_env needs username")
        return self

    def address(self) -> tuple[str, int]:
        if self.websocket is not None:
            return self.host, self.port or (443 if self.tls else 80)
        return self.host, self.port or (8883 if self.tls else 1883)

    def password(self) -> str | None:
        """From the environment. Raises ConfigError if the variable named is not set."""
        return None if self.password_env is None else secret(self.password_env, "mqtt.password_env")


class FileConfig(Section):
    """file: one event a line, to `path`. A file of max_mb is renamed, and `keep` of those stay."""

    path: Path
    max_mb: float = Field(default=100.0, gt=0)
    keep: int = Field(default=10, ge=0, le=10_000)


class StoreConfig(Section):
    """store: best shots kept on disk. Off unless this section is there: faces are personal data.

    They are deleted after retention_days.
    Beyond max_mb the oldest are deleted earlier.
    """

    folder: Path
    retention_days: float = Field(gt=0, le=3650)
    max_mb: float = Field(default=1024.0, gt=0)


class HttpConfig(Section):
    """http: the web page, the API and the metrics.

    host: any address but a loopback address needs a token, and TLS or behind_proxy.
    behind_proxy: a proxy in front of the server ends TLS.
    token_env: name of the variable that holds the bearer token.
    Without a token, a loopback server is open to every user of the machine.
    allowed_hosts: names under which browsers and Prometheus may reach it, besides IP addresses and
    localhost.
    frames: show live pictures.
    max_upload_mb, max_megapixels: of one pushed image.
    pushes_per_s: per client, in bursts of ten.
    pushes_at_once: pushed images that are decoded or wait at one time; each may take
    max_megapixels of memory.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    token_env: str = "EDGE_FIQA_TOKEN"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_proxy: bool = False
    allowed_hosts: tuple[HostName, ...] = ()
    frames: bool = True
    max_upload_mb: float = Field(default=8.0, gt=0, le=64)
    max_megapixels: float = Field(default=16.0, gt=0, le=50)
    pushes_per_s: float = Field(default=20.0, gt=0)
    pushes_at_once: int = Field(default=4, ge=1, le=64)

    @field_validator("host")
    @classmethod
    def _address(cls, host: str) -> str:
        if host != "localhost":
            try:
                ipaddress.ip_address(host)
            except ValueError:
                raise ValueError("give an IP address of this machine, or localhost") from None
        return host

    @model_validator(mode="after")
    def _safe(self) -> HttpConfig:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        if not self.loopback and not self.tls and not self.behind_proxy:
            raise ValueError(
                f"host {self.host} is seen by other machines: give tls_cert and tls_key, "
                "or behind_proxy: true if a proxy in front of it ends TLS"
            )
        return self

    @property
    def loopback(self) -> bool:
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    @property
    def tls(self) -> bool:
        return self.tls_cert is not None

    def token(self) -> str | None:
        """From the environment; None leaves a loopback server open.

        Raises ConfigError if it is too short, or missing where the configuration asks for one.
        """
        required = not self.loopback or self.behind_proxy or "token_env" in self.model_fields_set
        if not required and not os.environ.get(self.token_env):
            return None
        token = secret(self.token_env, "http.token_env")
        if len(token) < TOKEN_CHARACTERS:
            raise ConfigError(
                f"http.token_env: the token in {self.token_env} is shorter than {TOKEN_CHARACTERS} "
                "characters; make one with `openssl rand -hex 32`"
            )
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ConfigError(
                f"http.token_env: the token in {self.token_env} must be printable ASCII"
            )
        return token
