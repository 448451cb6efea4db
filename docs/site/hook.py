"""Makes the site of pages that are read on the repository's host as well.

Pages and pictures that lie outside docs/ join the site under the names of `PAGES`. A link is resolved
as the host does, from the file's place in the repository: to a page of the site if it is one, else to
the file in the repository. One that leads nowhere ends a strict build.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAGES = {
    "engines.md": "engines/README.md",
    "calibration.md": "calibration/README.md",
    "benchmarks.md": "benchmarks/README.md",
    "models.md": "edge_fiqa/models/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changes.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
}
"""Page of the site -> file of the repository."""
LINK = re.compile(r"(\]\(\s*)([^)\s]+)(\s*(?:\"[^\"]*\")?\))")
FENCE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"^<!--.*?-->$", re.MULTILINE)
LIST_AFTER_TEXT = re.compile(r"^(?!\s|- |\d+\. |\||#)(.+)\n(?=(?:- |1\. )\S)", re.MULTILINE)
"""The host begins a list without a blank line before it, Python-Markdown does not."""
log = logging.getLogger("mkdocs.plugins.edge_fiqa")


def repository_of(pyproject: str) -> str:
    """The address that [project.urls] states; tomllib is not there in Python 3.10."""
    return re.search(r'^Repository = "(.+?)/?"$', pyproject, re.MULTILINE)[1]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.repo_url = repository_of((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    config.repo_name = "source"
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    from mkdocs.structure.files import File  # tests read links without MkDocs

    for uri, path in PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    for picture in sorted((ROOT / "benchmarks/results").glob("*.png")):
        uri = f"results/{picture.name}"
        files.append(File.generated(config, uri, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    source = PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    markdown = COMMENT.sub("", markdown)
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"\0{len(kept) - 1}\0"

    text = FENCE.sub(keep, markdown)
    text = LIST_AFTER_TEXT.sub(r"\1\n\n", text)
    text = LINK.sub(lambda m: m[1] + _target(m[2], source, page, config) + m[3], text)
    return re.sub("\0(\\d+)\0", lambda m: kept[int(m[1])], text)


def _target(link: str, source: str, page: Page, config: MkDocsConfig) -> str:
    parts = urlsplit(link)
    if parts.scheme or not parts.path:
        return link
    path = os.path.normpath(f"{Path(source).parent}/{parts.path}")
    anchor = f"#{parts.fragment}" if parts.fragment else ""
    uri = site_uri(path)
    if uri is not None:
        folder = str(Path(page.file.src_uri).parent)
        return Path(os.path.relpath(uri, folder)).as_posix() + anchor
    if not (ROOT / path).exists():
        log.warning("%s links to %s, which does not exist", source, link)
    kind = "tree" if (ROOT / path).is_dir() else "blob"
    return f"{config.repo_url}/{kind}/main/{path}{anchor}"


def site_uri(path: str) -> str | None:
    """The page or picture of the site that a path of the repository is; None where it is none."""
    outside = {file: uri for uri, file in PAGES.items()} | {"README.md": "index.md"}
    if path in outside:
        return outside[path]
    if path.startswith("benchmarks/results/") and path.endswith(".png"):
        return f"results/{Path(path).name}"
    if path.startswith("docs/") and not path.startswith("docs/site/"):
        return path.removeprefix("docs/")
    return None
