"""Preparing faces: lists, caches that are never stale, and clear refusals."""

import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.recognition import Recogniser
from edge_fiqa.training.faces import list_faces, prepare


@pytest.fixture
def root(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    rows = ["path,dataset,identity"]
    for number in range(6):
        pixels = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
        folder = tmp_path / "persons" / f"p{number // 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append(f"persons/p{number // 2}/{number}.png,set,{number // 2}")
    (tmp_path / "train.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path


@pytest.fixture
def teacher(recogniser_file):
    return Recogniser(path=recogniser_file)


def test_a_list_and_a_folder_are_the_same_faces(root):
    listed, found = list_faces(root / "train.csv", root), list_faces(root / "persons", root)
    assert listed.paths == found.paths
    assert listed.identity.tolist() == found.identity.tolist() == [0, 0, 1, 1, 2, 2]


def test_faces_are_prepared_once(root, teacher, monkeypatch):
    faces = list_faces(root / "train.csv", root)
    one = prepare(faces, root / "cache", [(teacher, "pooled")], 2, seed=0)
    assert one.images.shape == (18, 112, 112, 3)
    assert one.embeddings[0].shape == (18, 3)
    assert one.maps[0].shape == (18, 3, 1, 1)
    assert one.identity.tolist() == np.arange(3).repeat(6).tolist()
    assert np.isfinite(one.quality).all()
    monkeypatch.setattr(Recogniser, "run_batches", None)  # nothing is computed again
    again = prepare(faces, root / "cache", [(teacher, "pooled")], 2, seed=0)
    np.testing.assert_array_equal(one.quality, again.quality)


def test_another_seed_or_feeding_never_meets_stale_files(root, teacher, recogniser_file):
    faces = list_faces(root / "train.csv", root)
    one = prepare(faces, root / "cache", [(teacher, None)], 1, seed=0)
    other = prepare(faces, root / "cache", [(teacher, None)], 1, seed=1)
    assert not np.array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.images[::2], other.images[::2])  # the clean ones
    fed = Recogniser(path=recogniser_file, mean=(100, 0, 0))
    assert not np.array_equal(
        prepare(faces, root / "cache", [(fed, None)], 1, seed=0).embeddings[0], one.embeddings[0]
    )


def test_an_interrupted_preparation_goes_on_and_ends_equal(root, teacher, monkeypatch):
    import edge_fiqa.training.faces as module

    faces = list_faces(root / "train.csv", root)
    whole = prepare(faces, root / "a", [(teacher, None)], 2, seed=0)
    monkeypatch.setattr(module, "FLUSH_EVERY", 2)
    real, calls = module.random_mixture, []

    def killed(face, seed):
        calls.append(seed)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return real(face, seed)

    monkeypatch.setattr(module, "random_mixture", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(faces, root / "b", [(teacher, None)], 2, seed=0)
    resumed = prepare(faces, root / "b", [(teacher, None)], 2, seed=0)
    assert len(calls) == 10 + 4  # four faces were flushed, the last two are made again
    np.testing.assert_array_equal(whole.images, resumed.images)


def test_refusals_name_the_file(root, teacher):
    faces = list_faces(root / "train.csv", root)
    faces.paths[3].write_bytes(b"not a picture")
    with pytest.raises(ConfigError, match=r"3\.png"):
        prepare(faces, root / "cache", [(teacher, None)], 0, seed=0)
    with pytest.raises(ConfigError, match="no inner tensor 'nothing'"):
        list(teacher.run_batches(np.zeros((1, 112, 112, 3), np.uint8), "nothing"))
    (root / "bad.csv").write_text("file,person\na.png,1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="path,dataset,identity"):
        list_faces(root / "bad.csv", root)
    with pytest.raises(ConfigError, match="no faces"):
        list_faces(root / "cache", root)
    (root / "one.csv").write_text("path,dataset,identity\na.png,s,1\nb.png,s,2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no person has two faces"):
        list_faces(root / "one.csv", root)


def test_a_recogniser_is_fed_as_stated(recogniser_file):
    faces = np.zeros((3, 112, 112, 3), np.uint8)
    faces[..., 0] = 100  # red
    faces[:, :, :8] = 255  # columns that are cut away
    recogniser = Recogniser(path=recogniser_file, mean=(10, 0, 0), std=(2, 1, 1), columns=(8, 104))
    np.testing.assert_allclose(
        recogniser.embed(faces, batch=2), np.tile([1, 0, 0], (3, 1)), atol=1e-6
    )
