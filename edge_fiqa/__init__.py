"""edge_fiqa: face image quality with early exits."""

__version__ = "0.1.0"
