"""Labels: from their definitions, by hand."""

import numpy as np
import pytest

from edge_fiqa.training.labels import (
    centre_cosine,
    certainty_ratio,
    nearest_other_cosine,
    standardise,
)


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


def test_without_degraded_versions_a_face_alone_has_no_label():
    clean = unit([1, 0], [0, 1], [1, 1])
    found = centre_cosine(clean, clean[:, None], np.array([0, 0, 1]))
    assert np.isfinite(found[:2]).all()
    assert np.isnan(found[2, 0])


def test_standardise_leaves_unknown_labels_unknown():
    found = standardise(np.array([1.0, 3.0, np.nan], np.float32))
    assert found[:2].tolist() == [-1, 1]
    assert np.isnan(found[2])


def test_the_nearest_other_person_is_never_oneself():
    clean = unit([1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1])
    found = nearest_other_cosine(clean, clean[:, None], np.array([0, 0, 1, 2]))
    np.testing.assert_allclose(found[:, 0], 0, atol=1e-6)
    near = unit([1, 1, 0])[None].repeat(4, 0)
    found = nearest_other_cosine(clean, near, np.array([0, 0, 1, 2]))
    np.testing.assert_allclose(found[:, 0], np.sqrt(0.5), atol=1e-6)


def test_the_certainty_ratio_is_the_own_cosine_over_the_nearest_other_plus_one():
    rng = np.random.default_rng(1)
    clean = unit(*rng.normal(size=(12, 5)))
    identity = np.arange(12) // 3
    versions = clean[:, None].repeat(2, 1)
    found = certainty_ratio(clean, versions, identity)
    for face in range(12):
        others = [i for i in range(12) if identity[i] == identity[face] and i != face]
        own = clean[face] @ unit(clean[others].sum(0))[0]
        nearest = max(
            clean[face] @ unit(clean[identity == person].sum(0))[0]
            for person in range(4)
            if person != identity[face]
        )
        assert found[face, 0] == pytest.approx(own / (nearest + 1), abs=1e-5)
