import cv2
import pytest

from edge_fiqa.measurement.all_exits import synthetic_faces


@pytest.fixture(scope="session")
def encoded():
    """Twelve small faces as PNG bytes."""
    return [cv2.imencode(".png", face[..., ::-1])[1].tobytes() for face in synthetic_faces(12, 3)]
