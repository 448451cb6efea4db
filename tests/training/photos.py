"""Small pictures for tests of the loader: noise of one colour each, as files and as tar shards."""

import io
import tarfile

import numpy as np
from PIL import Image


def photo(number, suffix=".png"):
    """Bytes of a 112x112 picture that no other number has."""
    rng = np.random.default_rng(number)
    level = rng.integers(40, 200, 3)
    pixels = np.clip(level + rng.normal(0, 30, (112, 112, 3)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, {".png": "PNG", ".webp": "WEBP"}[suffix])
    return file.getvalue()


def write_photo(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(photo(number, path.suffix))


def write_shard(path, members):
    """members: name -> bytes."""
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
