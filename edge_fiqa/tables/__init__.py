"""Needs pyarrow, which the package does without elsewhere."""

from edge_fiqa.errors import BackendMissing

try:
    import pyarrow  # noqa: F401
except ImportError as exc:
    raise BackendMissing(f"Parquet: {exc}; run pip install 'edge-fiqa[ray]'") from exc
