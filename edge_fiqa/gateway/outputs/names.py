"""Names that are safe in a path and in a topic."""

from __future__ import annotations

import hashlib
import re

SAFE = re.compile(r"[A-Za-z0-9_-]{1,80}")


def safe_name(text: str) -> str:
    """`text` if it is letters, digits, _ and - only; else these characters of it, and a hash of it."""
    if SAFE.fullmatch(text):
        return text
    kept = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:60]
    return f"{kept}-{hashlib.sha256(text.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"
