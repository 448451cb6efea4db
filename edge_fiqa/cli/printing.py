"""The one way in which a command prints: names of files, bundles and persons steer no terminal."""

from __future__ import annotations

import argparse
import copy
import logging
import os
import sys
from pathlib import PurePath
from typing import NoReturn, TextIO

from edge_fiqa.errors import shown


def say(*lines: str, error: bool = False, out: TextIO | None = None) -> None:
    """Print lines, on standard error if `error`. Control characters in them are escaped."""
    target = out or (sys.stderr if error else sys.stdout)
    print(*(escaped(line) for line in lines or ("",)), sep="\n", file=target)


def say_if_open(*lines: str) -> None:
    """Print lines on standard error, if its terminal was not closed meanwhile."""
    try:
        say(*lines, error=True)
    except OSError:  # what it did not take would be tried again when the process ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def escaped(text: str) -> str:
    """Text of several lines, in which only its line ends control the terminal."""
    return "\n".join(shown(line) for line in text.split("\n"))


class EscapingFormatter(logging.Formatter):
    """Of log lines on a terminal; tracebacks stay as they are. Names in a line end no line."""

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.args, tuple):
            record = copy.copy(record)  # other handlers get it as it is
            record.args = tuple(_name_shown(value) for value in record.args or ())
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, its name
        return escaped(super().formatMessage(record))


def _name_shown(value: object) -> object:
    return shown(str(value)) if isinstance(value, (str, PurePath)) else value


class EscapingParser(argparse.ArgumentParser):
    """Its errors repeat arguments, which may be names of files."""

    def error(self, message: str) -> NoReturn:
        super().error(escaped(message))


def log_to_stderr(level: int, form: str, *, again: bool = False) -> None:
    """again: also where a handler is set already."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EscapingFormatter(form))
    logging.basicConfig(level=level, handlers=[handler], force=again)
