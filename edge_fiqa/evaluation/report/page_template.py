"""Pages of reports: one Jinja2 environment for all, in which text is text."""

from __future__ import annotations

from typing import Any

from edge_fiqa.errors import BackendMissing


def page_template(package: str) -> Any:
    """page.html of a package. Raises BackendMissing without Jinja2."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as exc:
        raise BackendMissing(f"{exc}; run pip install 'edge-fiqa[evaluate]'") from exc
    return Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html")
