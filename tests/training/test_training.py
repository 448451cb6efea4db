"""Training: labels from the definition, and a loop that a kill does not change."""

import numpy as np
import pytest
import torch

from edge_fiqa.errors import ConfigError
from edge_fiqa.model.weights import load_weights
from edge_fiqa.recognition import Recogniser
from edge_fiqa.training.faces import TrainingFaces, prepare
from edge_fiqa.training.labels import centre_cosine, standardise
from edge_fiqa.training.loop import Trainer, TrainingRecipe, exit_loss, schedule
from edge_fiqa.types import VitConfig

CONFIG = VitConfig(width=16, depth=2, heads=2)


def unit(*vectors):
    array = np.array(vectors, np.float32)
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def test_a_face_is_compared_with_the_others_of_its_identity():
    clean = unit([1, 0], [0, 1], [1, 1])
    variants = np.stack((clean, unit([1, 0], [1, 0], [1, 0])), axis=1)
    found = centre_cosine(clean, variants, np.array([0, 0, 0]))
    # Face 0: the others' centre points along (1, 2) + small change; by hand, (0 + .707, 1 + .707).
    centre = unit([0.70711, 1.70711])[0]
    assert found[0, 0] == pytest.approx(centre[0], abs=1e-4)
    assert found[0, 1] == pytest.approx(centre[0], abs=1e-4)
    assert found[1, 0] == pytest.approx(unit([1.70711, 0.70711])[0][1], abs=1e-4)


def test_a_face_alone_has_no_label_when_clean_and_an_honest_one_when_not():
    rng = np.random.default_rng(0)
    clean = unit(*rng.normal(size=(41, 8)))
    variants = clean[:, None] + rng.normal(size=(41, 6, 8)) * np.linspace(0, 1.5, 6)[:, None]
    variants /= np.linalg.norm(variants, axis=-1, keepdims=True)
    variants[:, 0] = clean
    identity = np.append(np.arange(20).repeat(2), 20)
    clean[1:40:2] = unit(*(clean[0:40:2] + 0.2 * clean[1:40:2]))
    found = centre_cosine(clean, variants.astype(np.float32), identity)
    assert np.isnan(found[40, 0])
    assert np.isfinite(found[:40]).all()
    kind = np.einsum("vf,f->v", variants[40], clean[40])
    assert (found[40, 1:] < kind[1:]).all()
    assert np.argsort(found[40, 1:]).tolist() == np.argsort(kind[1:]).tolist()


def test_standardise_leaves_unknown_labels_unknown():
    found = standardise(np.array([1.0, 3.0, np.nan], np.float32))
    assert found[:2].tolist() == [-1, 1]
    assert np.isnan(found[2])


def test_loss_counts_every_exit_by_depth_and_skips_faces_without_label():
    scores = torch.tensor([[3.0, 1.0], [9.0, 9.0]])
    quality = torch.tensor([1.0, float("nan")])
    # Smooth-L1 of 2 is 1.5, of 0 is 0; weights 1/3 and 2/3.
    assert float(exit_loss(scores, quality)) == pytest.approx(0.5)
    scores = torch.tensor([[1.0, 3.0]])
    assert float(exit_loss(scores, quality[:1])) == pytest.approx(1.0)


def test_schedule():
    values = [schedule(p, 0.1) for p in np.linspace(0, 1, 101)]
    assert max(values) == pytest.approx(1.0)
    assert int(np.argmax(values)) == 10
    assert values[0] < 0.05
    assert values[-1] == pytest.approx(0.01)


@pytest.fixture
def faces():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 112, 112, 3), dtype=np.uint8)
    images[:20] //= 4  # dark faces are bad ones
    quality = np.repeat(np.array([-1, 1], np.float32), 20)
    quality[3] = np.nan
    return TrainingFaces(images, quality, (rng.normal(size=(40, 4)).astype(np.float16),))


RECIPE = TrainingRecipe(steps=6, batch=8, grey=0.3)


def test_a_killed_run_ends_with_the_same_weights(faces, tmp_path):
    torch.set_num_threads(1)
    whole = Trainer(CONFIG, RECIPE, faces, tmp_path / "a", checkpoint_every=3).run()
    interrupted = Trainer(CONFIG, RECIPE, faces, tmp_path / "b", checkpoint_every=3)
    for _ in range(4):
        interrupted._one_step()
        if interrupted.step == 3:
            interrupted._checkpoint()
    resumed = Trainer(CONFIG, RECIPE, faces, tmp_path / "b", checkpoint_every=3)
    assert resumed.step == 3
    found, expected = load_weights(resumed.run()), load_weights(whole)
    assert found.fingerprint == expected.fingerprint
    assert found.config == CONFIG
    assert len((tmp_path / "a" / "latest.pt").read_bytes()) > 1000


def test_another_seed_gives_other_weights(faces, tmp_path):
    recipe = TrainingRecipe(steps=2, batch=8, seed=1)
    one = Trainer(CONFIG, TrainingRecipe(steps=2, batch=8), faces, tmp_path / "a").run()
    two = Trainer(CONFIG, recipe, faces, tmp_path / "b").run()
    assert load_weights(one).fingerprint != load_weights(two).fingerprint


@pytest.mark.slow
def test_every_exit_learns(faces, tmp_path):
    recipe = TrainingRecipe(steps=60, batch=16, kept_patches=144, learning_rate=3e-3)
    trainer = Trainer(CONFIG, recipe, faces, tmp_path)
    first = trainer._one_step()["quality"]
    last = [trainer._one_step()["quality"] for _ in range(59)][-1]
    assert last < 0.5 * first
    images = torch.from_numpy(faces.images).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        scores = trainer.student.vit(images).numpy()
    assert (scores[20:].mean(0) > scores[:20].mean(0) + 0.5).all()


def save_recogniser(path):
    """An ONNX "recogniser" whose embedding is the mean colour, so that feeding can be checked."""
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["data"], ["embedding"], axes=[2, 3], keepdims=0)],
        "mean",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["n", 3, 112, "w"])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def test_a_recogniser_is_fed_as_stated(tmp_path):
    path = save_recogniser(tmp_path / "r.onnx")
    faces = np.zeros((3, 112, 112, 3), np.uint8)
    faces[..., 0] = 100  # red
    faces[:, :, :8] = 255  # columns that are cut away
    recogniser = Recogniser(path=path, mean=(10, 0, 0), std=(2, 1, 1), columns=(8, 104))
    np.testing.assert_allclose(
        recogniser.embed(faces, batch=2), np.tile([1, 0, 0], (3, 1)), atol=1e-6
    )


def test_faces_are_prepared_once(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    rows = ["path,dataset,identity"]
    for number in range(6):
        pixels = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,set,{number // 2}")
    split = tmp_path / "train.csv"
    split.write_text("\n".join(rows), encoding="utf-8")
    teacher = Recogniser(path=save_recogniser(tmp_path / "r.onnx"))
    one = prepare(split, tmp_path, tmp_path / "cache", [teacher], 2, seed=0)
    assert one.images.shape == (18, 112, 112, 3)
    assert one.embeddings[0].shape == (18, 3)
    assert np.isfinite(one.quality).all()
    stamp = (tmp_path / "cache/images.npy").stat().st_mtime_ns
    again = prepare(split, tmp_path, tmp_path / "cache", [teacher], 2, seed=0)
    np.testing.assert_array_equal(one.quality, again.quality)
    assert (tmp_path / "cache/images.npy").stat().st_mtime_ns == stamp
    with pytest.raises(ConfigError, match="delete the cache"):
        prepare(split, tmp_path, tmp_path / "cache", [teacher], 3, seed=0)
    (tmp_path / "0.png").unlink()
    with pytest.raises(ConfigError, match=r"0\.png"):
        prepare(split, tmp_path, tmp_path / "other", [teacher], 2, seed=0)
