"""The error of all sources."""

from edge_fiqa.errors import EdgeFiqaError


class SourceLost(EdgeFiqaError):
    """A source cannot be opened, or delivers no more. Names no address: that may hold secrets."""
