"""What people hand to a Scorer: what has one meaning is scored, the rest is refused in one sentence."""

import numpy as np
import pytest
import torch
from PIL import Image

from edge_fiqa import Fixed, GateService, Scorer
from edge_fiqa.engines.fake import FakeEngine
from edge_fiqa.errors import ConfigError, ImageRefused
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from tests.calibrated import calibration_of_numbers

ENGINE = FakeEngine([[k, k, k, k] for k in range(6)])
FACES = ENGINE.faces


@pytest.fixture
def scorer(bundle):
    return Scorer(bundle, ENGINE, gate=50, calibration=calibration_of_numbers())


@pytest.fixture
def service(scorer):
    return GateService(scorer)


@pytest.fixture
def paths(tmp_path):
    """Lossless files of the faces."""
    files = [tmp_path / f"{n}.png" for n in range(len(FACES))]
    for file, face in zip(files, FACES, strict=True):
        Image.fromarray(face).save(file)
    return files


def raw(records):
    return [None if r.quality.raw is None else round(r.quality.raw, 4) for r in records]


LISTS = {
    "list of arrays": list,
    "tuple of arrays": tuple,
    "one array": lambda faces: faces,
    "iterator": iter,
    "generator": lambda faces: (face for face in faces),
    "crops": lambda faces: [FaceCrop(f"{n}#0", "a", face) for n, face in enumerate(faces)],
    "PIL images": lambda faces: [Image.fromarray(face) for face in faces],
    "torch tensors": lambda faces: [torch.from_numpy(face) for face in faces],
    "one torch tensor": torch.from_numpy,
    "not contiguous": lambda faces: [np.asfortranarray(face) for face in faces],
    "reversed twice": lambda faces: [np.ascontiguousarray(f[:, ::-1])[:, ::-1] for f in faces],
}


@pytest.mark.parametrize("given", LISTS.values(), ids=LISTS)
def test_what_has_one_meaning_is_scored(scorer, service, given):
    assert raw(scorer.score(given(FACES))) == [0, 1, 2, 3, 4, 5]
    assert scorer.assess(given(FACES)).score == pytest.approx([0, 1, 2, 3, 4, 5])
    assert raw(service.score(given(FACES))) == [0, 1, 2, 3, 4, 5]


def test_files_by_path_or_its_text(scorer, service, paths):
    for given in (paths, [str(path) for path in paths]):
        records = scorer.score(given)
        assert raw(records) == [0, 1, 2, 3, 4, 5]
        assert records[3].id == f"{paths[3]}#0"
        assert raw(map(scorer.score_face, given)) == [0, 1, 2, 3, 4, 5]
        assert raw(map(service.score_face, given)) == [0, 1, 2, 3, 4, 5]
        assert scorer.assess(given).score == pytest.approx([0, 1, 2, 3, 4, 5])


def test_a_file_without_an_aligned_face_keeps_its_record(scorer, paths, tmp_path):
    Image.new("RGB", (300, 200)).save(tmp_path / "photo.png")
    given = [paths[2], tmp_path / "none.png", tmp_path / "photo.png", paths[4]]
    records = scorer.score(given)
    assert [r.quality.code for r in records] == ["ok", "unreadable", "no_face", "ok"]
    assert raw(records) == [2, None, None, 4]
    assert scorer.score_face(given[1]).quality.code == "unreadable"
    with pytest.raises(ImageRefused, match=r"none\.png"):
        scorer.assess(given)


@pytest.mark.parametrize(
    "face",
    [FACES[3], Image.fromarray(FACES[3]), torch.from_numpy(FACES[3])],
    ids=["array", "PIL", "torch"],
)
def test_one_face(scorer, service, face):
    for record in (scorer.score_face(face), service.score_face(face)):
        assert (record.quality.raw, record.id, record.source) == (3, "face#0", "face")


def test_faces_without_a_name_are_numbered(scorer):
    assert [r.id for r in scorer.score(list(FACES[:3]))] == ["face#0", "face#1", "face#2"]


def test_no_faces(scorer, service):
    for nothing in ([], (), iter([]), np.empty((0, 112, 112, 3), np.uint8)):
        assert scorer.score(nothing) == []
        assert len(scorer.assess(nothing)) == 0
    assert service.score([]) == []
    assert service.score([RefusedFace("a", "a", "unreadable", "damaged")])[0].id == "a"


def turned(face):
    """As a camera that was held upright saves it: pixels on their side, and a note."""
    picture = Image.fromarray(face)
    picture.getexif()[274] = 6
    return picture


FACE = FACES[3]
MISTAKES = {
    "float 0..1": (FACE / 255.0, r"float64.*255 \* face"),
    "float -1..1": (FACE.astype(np.float32) / 127.5 - 1, "before any normalisation"),
    "float 0..255": (FACE.astype(np.float32), "before any normalisation"),
    "not finite": (np.full((112, 112, 3), np.nan), "before any normalisation"),
    "int64": (FACE.astype(np.int64), "int64.*0 to 255 as uint8"),
    "int8": (FACE.astype(np.int8), "int8.*uint8"),
    "channels first": (FACE.transpose(2, 0, 1), r"\(3, 112, 112\).*transpose\(1, 2, 0\)"),
    "torch, channels first": (torch.from_numpy(FACE).permute(2, 0, 1), "transpose"),
    "torch, float": (torch.from_numpy(FACE).float(), "float32.*before any normalisation"),
    "torch, elsewhere": (torch.empty(112, 112, 3, device="meta"), r"meta.*tensor\.cpu\(\)"),
    "torch, bfloat16": (torch.zeros(112, 112, 3, dtype=torch.bfloat16), "bfloat16"),
    "grey": (FACE[..., 0], r"\(112, 112\).*grey"),
    "grey, one channel": (FACE[..., :1], "grey"),
    "four channels": (np.dstack([FACE, FACE[..., 0]]), r"\(112, 112, 4\).*alpha"),
    "another size": (np.zeros((160, 160, 3), np.uint8), r"\(160, 160, 3\).*align it"),
    "a batch": (FACES[:1], r"\(1, 112, 112, 3\).*batch"),
    "PIL, grey": (Image.fromarray(FACE).convert("L"), r"is L, not RGB.*convert\('RGB'\)"),
    "PIL, alpha": (Image.fromarray(FACE).convert("RGBA"), "is RGBA, not RGB"),
    "PIL, another size": (Image.new("RGB", (640, 480)), r"\(480, 640, 3\).*align it"),
    "PIL, turned": (turned(FACE), "exif_transpose"),
    "None": (None, "got NoneType"),
    "bytes of a file": (b"\x89PNG", "got bytes"),
    "a number": (3, "got int 3"),
    "nested lists": (FACE.tolist(), "got list"),
    "crop of another size": (FaceCrop("a", "a", FACE[:96]), r"\(96, 112, 3\)"),
    "crop of a list": (FaceCrop("a", "a", FACE.tolist()), "got list"),
}


@pytest.mark.parametrize(("face", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_what_is_no_face_is_refused(scorer, service, face, sentence):
    for call in (
        lambda: scorer.score_face(face),
        lambda: service.score_face(face),
        lambda: scorer.score([FACES[0], face]),
        lambda: scorer.assess([FACES[0], face]),
        lambda: service.score([FACES[0], face]),
        lambda: list(map(scorer.score_face, [face])),
    ):
        with pytest.raises(ConfigError, match=sentence) as refusal:
            call()
        assert "\n" not in str(refusal.value)


NO_LISTS = {
    "one array": (FACE, r"\(112, 112, 3\).*\[face\]"),
    "one picture": (Image.fromarray(FACE), r"PIL image 112x112 RGB.*\[face\]"),
    "one path": ("photos/a.png", r"str 'photos/a.png'.*\[face\]"),
    "one crop": (FaceCrop("a", "a", FACE), r"FaceCrop.*\[face\]"),
    "a dictionary": ({"a": FACE}, "got dict"),
    "bytes": (b"\xff\xd8\xff", "got bytes"),
    "None": (None, "got NoneType None"),
    "grey faces": (FACES[..., 0], r"\(6, 112, 112\)"),
    "float faces": (FACES / 255.0, r"255 \* face"),
    "channels first": (FACES.transpose(0, 3, 1, 2), r"transpose\(1, 2, 0\)"),
}


@pytest.mark.parametrize(("faces", "sentence"), NO_LISTS.values(), ids=NO_LISTS)
def test_what_is_no_list_of_faces_is_refused(scorer, service, faces, sentence):
    for call in (scorer.score, scorer.assess, service.score):
        with pytest.raises(ConfigError, match=sentence):
            call(faces)


def test_one_policy_or_several(scorer, service):
    for given in (Fixed(2), [Fixed(2)], (Fixed(2),), iter([Fixed(2)]), {Fixed(2)}):
        assert scorer.score_face(FACE, given).exit.depth == 2
    assert [r.exit.depth for r in scorer.score(list(FACES), iter([Fixed(3)]))] == [3] * 6
    assert scorer.assess(FACES, Fixed(1)).depth.tolist() == [1] * 6
    assert service.score_face(FACE, Fixed(2)).exit.depth <= 2
    scorer.prepare(Fixed(1))
    service.prepare(iter([Fixed(1)]))
    assert scorer.score_face(FACE, []).exit.depth == 4


@pytest.mark.parametrize(
    ("policies", "sentence"),
    [
        (6, "got int 6"),
        ("fixed", "got str 'fixed'"),
        (None, "got NoneType"),
        (Fixed, r"Fixed\(\), not its class"),
        ([Fixed], r"Fixed\(\), not its class"),
        ([Fixed(1), 2], "got int 2"),
        ({"depth": 2}, "got dict"),
    ],
)
def test_what_is_no_policy_is_refused(scorer, service, policies, sentence):
    for call in (
        lambda: scorer.score([FACE], policies),
        lambda: scorer.score_face(FACE, policies),
        lambda: scorer.assess(FACES, policies),
        lambda: scorer.prepare(policies),
        lambda: service.score([FACE], policies),
        lambda: service.prepare(policies),
    ):
        with pytest.raises(ConfigError, match=sentence):
            call()
