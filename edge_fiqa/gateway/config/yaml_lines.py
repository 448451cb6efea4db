"""YAML that remembers on which line each key stands, and takes secrets from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edge_fiqa.errors import ConfigError

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
MOST_BYTES, MOST_NODES, DEEPEST = 1_000_000, 20_000, 20

Place = tuple[str | int, ...]  # keys and list positions from the top of the file


@dataclass(frozen=True)
class Document:
    """data: what the file says. lines: of each key, counted from 1."""

    file: Path
    data: dict[str, Any]
    lines: Mapping[Place, int]

    def error(self, place: Place, message: str) -> ConfigError:
        """The message with file, line and key in front; of a missing key, the line of its parent."""
        known = place
        while known not in self.lines and known:
            known = known[:-1]
        line = f", line {self.lines[known]}" if known in self.lines else ""
        key = ".".join(map(str, place))
        return ConfigError(f"{self.file}{line}{', ' + key if key else ''}: {message}")


def read_lines(file: Path, environment: Mapping[str, str] | None = None) -> Document:
    """Read a mapping; `${NAME}` in any text becomes the environment variable.

    Raises ConfigError naming file, line and key; it never quotes a value, which may be a secret.
    """
    document = _parsed(file, _text_of(file))
    variables = os.environ if environment is None else environment
    filled = _filled(document.data, (), document, variables)
    return Document(file, filled, document.lines)


def _text_of(file: Path) -> str:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{file} is above {MOST_BYTES // 1_000_000} MB: not a configuration")
        return file.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise ConfigError(f"{file}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{file} is not text (UTF-8)") from exc


def _parsed(file: Path, text: str) -> Document:
    """The file as it is, variables not yet put in."""
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{file}: expected keys like `cameras:`")
        lines = dict(_lines_of(node, file))
        return Document(file, loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{file}{line}: not YAML: {exc.problem or exc.context}") from exc
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as exc:  # a date like 2026-99-99
        raise ConfigError(f"{file}: not YAML that can be read") from exc
    finally:
        if loader is not None:
            loader.dispose()


def _lines_of(node: yaml.MappingNode, file: Path) -> Iterator[tuple[Place, int]]:
    """Every key's place and line. Refuses keys that are there twice, and files nested without end."""
    waiting: list[tuple[Place, yaml.Node]] = [((), node)]
    for _ in range(MOST_NODES):
        if not waiting:
            return
        place, parent = waiting.pop()
        if len(place) > DEEPEST:
            raise ConfigError(f"{file}, line {parent.start_mark.line + 1}: nested too deeply")
        if isinstance(parent, yaml.SequenceNode):
            for number, item in enumerate(parent.value):
                yield (*place, number), item.start_mark.line + 1
                waiting.append(((*place, number), item))
        elif isinstance(parent, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in parent.value:
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    raise ConfigError(f"{file}, line {line}: a key must be a word")
                if key.value in seen and key.value != "<<":
                    raise ConfigError(f"{file}, line {line}: {key.value} is there twice")
                seen.add(key.value)
                yield (*place, key.value), line
                waiting.append(((*place, key.value), value))
    raise ConfigError(f"{file}: more than {MOST_NODES} values: not a configuration")


def _filled(value: Any, place: Place, document: Document, environment: Mapping[str, str]) -> Any:
    """The same tree with variables put in, and every key as text."""
    if isinstance(value, dict):
        return {
            str(key): _filled(item, (*place, str(key)), document, environment)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_filled(item, (*place, i), document, environment) for i, item in enumerate(value)]
    if isinstance(value, str):
        for name in VARIABLE.findall(value):
            if name not in environment:
                raise document.error(place, f"the environment variable {name} is not set")
        return VARIABLE.sub(lambda match: environment[match[1]], value)
    return value
