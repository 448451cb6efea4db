"""edge_fiqa: face image quality with early exits.

    from edge_fiqa import Scorer
    with Scorer.open() as scorer:
        print(scorer.score_face(crop).quality.scalar)   # crop: (112, 112, 3) uint8 RGB, aligned

The names in `__all__` are the public ones, and stay as they are within a minor version; modules below
may move at any time. Importing this loads no backend, no torch and no OpenCV: names are resolved when
first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_fiqa.bundle.bundle import Bundle as Bundle
    from edge_fiqa.calibration.artefact import Calibration as Calibration
    from edge_fiqa.calibration.artefact import load_calibration as load_calibration
    from edge_fiqa.calibration.audit import Audit as Audit
    from edge_fiqa.errors import BackendMissing as BackendMissing
    from edge_fiqa.errors import BundleError as BundleError
    from edge_fiqa.errors import CheckpointError as CheckpointError
    from edge_fiqa.errors import ConfigError as ConfigError
    from edge_fiqa.errors import EdgeFiqaError as EdgeFiqaError
    from edge_fiqa.errors import EngineFailed as EngineFailed
    from edge_fiqa.errors import ImageRefused as ImageRefused
    from edge_fiqa.errors import KeptFileRefused as KeptFileRefused
    from edge_fiqa.errors import Overloaded as Overloaded
    from edge_fiqa.faces.detector_file import find_detector as find_detector
    from edge_fiqa.faces.sources import FaceCrop as FaceCrop
    from edge_fiqa.faces.sources import FaceReader as FaceReader
    from edge_fiqa.faces.sources import RefusedFace as RefusedFace
    from edge_fiqa.policies.gate import Gate as Gate
    from edge_fiqa.policies.policy import Budget as Budget
    from edge_fiqa.policies.policy import Convergence as Convergence
    from edge_fiqa.policies.policy import Deadline as Deadline
    from edge_fiqa.policies.policy import Fixed as Fixed
    from edge_fiqa.policies.policy import Forecast as Forecast
    from edge_fiqa.policies.policy import Policy as Policy
    from edge_fiqa.policies.policy import Progress as Progress
    from edge_fiqa.record import Record as Record
    from edge_fiqa.record import to_json as to_json
    from edge_fiqa.scoring.gate_service import GateService as GateService
    from edge_fiqa.scoring.scorer import Scorer as Scorer

__version__ = "0.2.0"

_HOMES = {
    "Audit": "calibration.audit",
    "BackendMissing": "errors",
    "Budget": "policies.policy",
    "Bundle": "bundle.bundle",
    "BundleError": "errors",
    "Calibration": "calibration.artefact",
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "Convergence": "policies.policy",
    "Deadline": "policies.policy",
    "EdgeFiqaError": "errors",
    "EngineFailed": "errors",
    "FaceCrop": "faces.sources",
    "FaceReader": "faces.sources",
    "Fixed": "policies.policy",
    "Forecast": "policies.policy",
    "Gate": "policies.gate",
    "GateService": "scoring.gate_service",
    "ImageRefused": "errors",
    "KeptFileRefused": "errors",
    "Overloaded": "errors",
    "Policy": "policies.policy",
    "Progress": "policies.policy",
    "Record": "record",
    "RefusedFace": "faces.sources",
    "Scorer": "scoring.scorer",
    "find_detector": "faces.detector_file",
    "load_calibration": "calibration.artefact",
    "to_json": "record",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"edge_fiqa.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
