"""Are the right files in a source archive and a wheel? Ends with what is missing or too much.

python .ci/release_contents.py FILES.txt ARCHIVE.tar.gz WHEEL.whl   # FILES.txt: of git ls-files
"""

import re
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

PACKAGE = "edge_fiqa"
TOP = {
    "CHANGELOG.md",
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "SECURITY.md",
    "pyproject.toml",
    "setup.py",
}
NOT_SHIPPED = re.compile(r"edge_fiqa/models/[^/]+\.safetensors")
"""Weights to build from again: the bundles are made of them."""
LARGEST_MB = 100  # of a file, where the package index draws its line


def problems_of_archive(path: Path, expected: set[str]) -> list[str]:
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if "/" in name}
        names -= {member.name.partition("/")[2] for member in archive if member.isdir()}
    made = {name for name in names if ".egg-info/" in name} | {"PKG-INFO", "setup.cfg"}
    return differences(path, names - made, expected | TOP)


def problems_of_wheel(path: Path, expected: set[str], version: str) -> list[str]:
    with zipfile.ZipFile(path) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
        folder = f"{PACKAGE}-{version}.dist-info"
        if f"{folder}/METADATA" not in names:
            return [f"{path}: no {folder}/METADATA; is the version {version}?"]
        metadata = Parser().parsestr(wheel.read(f"{folder}/METADATA").decode())
        entry_points = wheel.read(f"{folder}/entry_points.txt").decode()
    problems = differences(path, {n for n in names if not n.startswith(folder)}, expected)
    for field in ("Summary", "License-Expression", "Requires-Python", "Project-URL", "Classifier"):
        if not metadata[field]:
            problems.append(f"{path}: its metadata has no {field}")
    if "# edge_fiqa" not in str(metadata.get_payload()):
        problems.append(f"{path}: its description is not README.md")
    if relative := re.findall(r"\]\((?!https?:)[^)]*\)", str(metadata.get_payload())):
        problems.append(f"{path}: links of its description lead nowhere on an index: {relative}")
    if f"{folder}/licenses/LICENSE" not in names:
        problems.append(f"{path}: no licence")
    if "edge-fiqa = edge_fiqa.cli:main" not in entry_points:
        problems.append(f"{path}: no command edge-fiqa")
    return problems


def differences(path: Path, names: set[str], expected: set[str]) -> list[str]:
    missing, more = sorted(expected - names), sorted(names - expected)
    return [f"{path}: {name} is missing" for name in missing] + [
        f"{path}: {name} does not belong there" for name in more
    ]


def problems_of_changelog(version: str) -> list[str]:
    text = Path("CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.search(
        rf"^## {re.escape(version)} \((\d{{4}}-\d\d-\d\d|unreleased)\)$", text, re.M
    )
    return [] if heading else [f"CHANGELOG.md: no section '## {version} (DATE)'"]


def main(files: Path, archive: Path, wheel: Path) -> None:
    tracked = files.read_text(encoding="utf-8").splitlines()
    expected = {f for f in tracked if f.startswith(f"{PACKAGE}/") and not NOT_SHIPPED.fullmatch(f)}
    source = Path(PACKAGE, "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(.+)"$', source, re.M)[1]
    problems = problems_of_archive(archive, expected) + problems_of_changelog(version)
    problems += problems_of_wheel(wheel, expected, version)
    for path in (archive, wheel):
        if (size := path.stat().st_size) > LARGEST_MB * 1_000_000:
            problems.append(f"{path}: {size} bytes, more than {LARGEST_MB} MB")
    if problems:
        raise SystemExit("\n".join(problems))
    print(f"{archive.name}, {wheel.name}: {len(expected)} files of the package, and nothing else")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
