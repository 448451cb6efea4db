"""README.md of a release: its links lead to the repository, since a package index has no files of it.

python .ci/release_readme.py FOLDER   # changes its README.md; pyproject.toml has the address

An index gives headings no anchors, so links within the page lead to the repository as well. They name
the tag of the release, which must be pushed before the upload.
"""

import re
import sys
from pathlib import Path

LINK = re.compile(r"(!?)(\[(?:[^\[\]]|\[[^\]]*\])*\])\((?![a-z]+:)([^)#\s]*)(#[^)\s]*)?\)")
"""A Markdown link or picture whose target is a file or a heading, not an address."""


def absolute_links(text: str, repository: str, tag: str, folder: Path) -> str:
    """repository: without a slash at its end. folder: where the files are that the text links to."""

    def absolute(link: re.Match[str]) -> str:
        picture, label, path, anchor = link[1], link[2], link[3] or "README.md", link[4] or ""
        kind = "raw" if picture else "tree" if (folder / path).is_dir() else "blob"
        return f"{picture}{label}({repository}/{kind}/{tag}/{path}{anchor})"

    return LINK.sub(absolute, text)


def main(folder: Path, checkout: Path) -> None:
    metadata = (folder / "pyproject.toml").read_text(encoding="utf-8")
    source = (folder / "edge_fiqa/__init__.py").read_text(encoding="utf-8")
    repository = re.search(r'^Repository = "(.+?)/?"$', metadata, re.M)[1]
    version = re.search(r'^__version__ = "(.+)"$', source, re.M)[1]
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(absolute_links(text, repository, f"v{version}", checkout), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path.cwd())
