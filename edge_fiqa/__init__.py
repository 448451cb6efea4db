"""edge_fiqa: face image quality with early exits.

    from edge_fiqa import Scorer
    with Scorer.open() as scorer:
        print(scorer.score_face(crop).quality.scalar)   # crop: (112, 112, 3) uint8 RGB, aligned

Importing this loads no backend, no torch and no OpenCV: names are resolved when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_fiqa.bundle.bundle import Bundle as Bundle
    from edge_fiqa.errors import EdgeFiqaError as EdgeFiqaError
    from edge_fiqa.faces.sources import FaceReader as FaceReader
    from edge_fiqa.policies.gate import Gate as Gate
    from edge_fiqa.policies.policy import Budget as Budget
    from edge_fiqa.policies.policy import Convergence as Convergence
    from edge_fiqa.policies.policy import Deadline as Deadline
    from edge_fiqa.policies.policy import Fixed as Fixed
    from edge_fiqa.record import Record as Record
    from edge_fiqa.scoring.gate_service import GateService as GateService
    from edge_fiqa.scoring.scorer import Scorer as Scorer

__version__ = "0.1.0"

_HOMES = {
    "Budget": "policies.policy",
    "Bundle": "bundle.bundle",
    "Convergence": "policies.policy",
    "Deadline": "policies.policy",
    "EdgeFiqaError": "errors",
    "FaceReader": "faces.sources",
    "Fixed": "policies.policy",
    "Gate": "policies.gate",
    "GateService": "scoring.gate_service",
    "Record": "record",
    "Scorer": "scoring.scorer",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"edge_fiqa.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
