"""What all sections of a gateway's configuration share, and where their secrets come from."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from edge_fiqa.errors import ConfigError


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def secret(variable: str, key: str) -> str:
    """An environment variable's value. Raises ConfigError naming the key if it is not set."""
    value = os.environ.get(variable)
    if not value:
        raise ConfigError(f"{key}: the environment variable {variable} is not set")
    return value


def secret_of_file(file: Path, key: str) -> str:
    """A file's text without the line break at its end. Raises ConfigError naming the key."""
    try:
        value = file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as exc:
        raise ConfigError(f"{key}: {file}: {exc.strerror}") from exc
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {file} is not text (UTF-8)") from None
    if not value:
        raise ConfigError(f"{key}: {file} is empty")
    return value
