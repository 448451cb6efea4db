"""Tools, servers and libraries that some tests need. .ci/run installs them, so that there a test that
cannot run fails; on a developer's machine it is skipped, saying what to install."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def missing(what: str, *, whole_file: bool = False) -> NoReturn:
    """Skip this test, or fail it in continuous integration (CI=true).

    whole_file: called while the file is read.
    """
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(what, allow_module_level=whole_file)
    pytest.fail(f"{what}; in continuous integration this test must run")


def need(tool: str, *other_names: str, package: str = "") -> str:
    """The path of an installed program. package: Debian's, where it is not called as the tool."""
    for name in (tool, *other_names):
        if path := shutil.which(name) or shutil.which(name, path="/usr/sbin"):
            return path
    missing(f"{tool} is not installed; apt-get install {package or tool}")
