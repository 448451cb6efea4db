"""The student: what it predicts, and growing it without changing its answers."""

import pytest
import torch

from edge_fiqa.errors import ConfigError
from edge_fiqa.training.student import Student, on_patches, widen
from edge_fiqa.types import VitConfig

NARROW = VitConfig(width=16, depth=3, heads=2)
WIDE = VitConfig(width=32, depth=3, heads=4)


def student(config):
    torch.manual_seed(1)
    made = Student(config, [4, 6], [3]).eval()
    for parameter in made.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter)
    return made


def outputs(model, images, kept=None):
    with torch.inference_mode():
        seen = model(images, kept)
    assert seen.causes.shape == (len(images), model.vit.config.depth, 0)
    return [seen.scores, *seen.embeddings, *seen.maps]


def test_shapes_and_agreement_with_the_plain_model():
    images, kept = torch.randn(2, 3, 112, 112), torch.tensor([5, 0, 143])
    model = student(NARROW)
    found = outputs(model, images, kept)
    assert [tuple(x.shape) for x in found] == [(2, 3), (2, 4), (2, 6), (2, 3, 3)]
    with torch.inference_mode():
        torch.testing.assert_close(outputs(model, images)[0], model.vit(images))


def test_causes_are_read_from_the_quality_token_behind_each_block():
    model = Student(NARROW, [4], [], causes=5).eval()
    images = torch.randn(2, 3, 112, 112)
    with torch.inference_mode():
        seen = model(images, None)
        x = model.vit.stem(images)
        for block, head, found in zip(
            model.vit.blocks, model.causes, seen.causes.unbind(1), strict=True
        ):
            x = block(x)
            torch.testing.assert_close(head(model.vit.norm(x)[:, 0]), found)
    assert seen.causes.shape == (2, 3, 5)


@pytest.mark.parametrize("mode", ["crfiqa", "full"])
def test_other_modes(mode):
    model = student(VitConfig(mode=mode, width=16, depth=2, heads=2))
    scores, first, _, maps = outputs(model, torch.randn(2, 3, 112, 112))
    assert (scores.shape, first.shape, maps.shape) == ((2, 2), (2, 4), (2, 144, 3))


def test_a_widened_student_gives_the_same_answers():
    narrow, wide = student(NARROW), student(WIDE)
    grown = widen(narrow.state_dict(), wide.state_dict(), 0.0, torch.Generator())
    wide.load_state_dict(grown)
    images = torch.randn(2, 3, 112, 112)
    for expected, found in zip(outputs(narrow, images), outputs(wide, images), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_noise_tells_the_copies_apart_and_hardly_changes_the_answers():
    narrow, wide = student(NARROW), student(WIDE)
    generator = torch.Generator().manual_seed(0)
    wide.load_state_dict(widen(narrow.state_dict(), wide.state_dict(), 0.02, generator))
    weight = wide.vit.blocks[0].attn.proj.weight
    assert not torch.equal(weight[:16], weight[16:])
    images = torch.randn(8, 3, 112, 112)
    found, expected = outputs(wide, images)[0], outputs(narrow, images)[0]
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()


def test_only_the_same_width_or_half_of_it_can_be_the_start():
    third = student(VitConfig(width=48, depth=3, heads=2))
    with pytest.raises(ConfigError, match="half"):
        widen(student(NARROW).state_dict(), third.state_dict(), 0.0, torch.Generator())
    narrow, wide = (
        student(VitConfig(mode="crfiqa", width=width, depth=1, heads=2)) for width in (16, 32)
    )
    with pytest.raises(ConfigError, match="token"):
        widen(narrow.state_dict(), wide.state_dict(), 0.0, torch.Generator())


def test_maps_are_seen_at_the_centres_of_the_patches():
    # A map that is linear in x: cell c of 7 has its centre at pixel 16 c + 8.
    cells = (16 * torch.arange(7.0) + 8).expand(1, 1, 7, 7)
    seen = on_patches(cells, None)[0, :, 0].view(12, 12)
    pixels = 9 * torch.arange(12.0) + 4.5
    torch.testing.assert_close(seen[3], pixels.clamp(8, 104), atol=1e-3, rtol=1e-3)
    assert on_patches(cells, torch.tensor([13])).shape == (1, 1, 1)
    torch.testing.assert_close(on_patches(cells, torch.tensor([13]))[0, 0], seen[1, 1:2])
