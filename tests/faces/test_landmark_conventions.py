"""Landmark files as people have them: other orders, other names, other separators, 68 points."""

import json

import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.landmarks import read_landmarks
from edge_fiqa.faces.point_names import place_of
from edge_fiqa.faces.template import TEMPLATE

FACE = np.round(TEMPLATE * 3 + 20, 2)
LEFT_EYE, RIGHT_EYE, NOSE, LEFT_MOUTH, RIGHT_MOUTH = FACE.tolist()
PERSONS = (1, 0, 2, 4, 3)
NAMES = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


def numbers(points, between=","):
    return between.join(f"{value:g}" for value in np.ravel(points))


def read(tmp_path, text, name="l.csv"):
    file = tmp_path / name
    file.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return read_landmarks(file)


def the_face(landmarks):
    ((points,),) = landmarks.faces.values()
    return np.array(points)


@pytest.mark.parametrize(
    "names",
    [
        NAMES,
        ("lefteye", "righteye", "nose", "leftmouth", "rightmouth"),
        ("eye_left", "eye_right", "nose_tip", "mouth_left", "mouth_right"),
        ("leftEye", "rightEye", "noseTip", "leftMouthCorner", "rightMouthCorner"),
        (
            "left_eye_center",
            "right_eye_center",
            "nose_tip",
            "mouth_left_corner",
            "mouth_right_corner",
        ),
        ("l_eye", "r_eye", "nose", "l_mouth", "r_mouth"),
    ],
)
@pytest.mark.parametrize("persons", [False, True])
def test_columns_by_their_names(tmp_path, names, persons):
    """Left may be the image's or the person's; the columns stand in any order, beside others."""
    points = FACE[list(PERSONS)] if persons else FACE
    order = (3, 0, 2, 4, 1)
    header = ",".join(f"{names[place]}_x,{names[place]}_y" for place in order)
    row = numbers(points[list(order)])
    landmarks = read(tmp_path, f"score,filename,{header}\n0.9,a.jpg,{row}\n")
    np.testing.assert_allclose(the_face(landmarks), FACE)
    assert list(landmarks.faces) == ["a.jpg"]
    owner = "person" if persons else "image"
    assert (
        landmarks.understood
        == f"points by the names in the header, left and right are the {owner}'s"
    )


def test_all_x_before_all_y_by_their_numbers(tmp_path):
    header = ",".join([f"x{n}" for n in range(1, 6)] + [f"y{n}" for n in range(1, 6)])
    row = numbers(FACE.T)
    np.testing.assert_allclose(the_face(read(tmp_path, f"path,{header}\na.jpg,{row}\n")), FACE)


@pytest.mark.parametrize("between", [";", "\t", " "])
def test_other_separators(tmp_path, between):
    text = f"a.jpg{between}{numbers(FACE, between)}\n"
    np.testing.assert_allclose(the_face(read(tmp_path, text)), FACE)


def test_commas_in_numbers_between_semicolons(tmp_path):
    text = f"path;x1;y1;x2;y2;x3;y3;x4;y4;x5;y5\na.jpg;{numbers(FACE, ';').replace('.', ',')}\n"
    np.testing.assert_allclose(the_face(read(tmp_path, text)), FACE)


def test_the_lists_of_celeba(tmp_path):
    """A count, a header one cell shorter than the rows, blanks between."""
    header = " ".join(f"{name}_{axis}" for name in NAMES for axis in "xy")
    text = f"1\n{header}\n000001.jpg {numbers(FACE, '  ')}\n"
    landmarks = read(tmp_path, text, "list.txt")
    np.testing.assert_allclose(the_face(landmarks), FACE)
    assert list(landmarks.faces) == ["000001.jpg"]


def all_68():
    """Nonsense but for what is read: around each eye, tip of the nose, corners of the mouth."""
    points = np.full((68, 2), 7.0)
    ring = np.array([[-9, 0], [-4, -4], [4, -4], [9, 0], [4, 4], [-4, 4]], float)
    points[36:42], points[42:48] = FACE[0] + ring, FACE[1] + ring
    points[30], points[48], points[54] = FACE[2:]
    return points


@pytest.mark.parametrize("header", [False, True])
def test_68_points(tmp_path, header):
    names = ",".join(f"x_{n}" for n in range(68)) + "," + ",".join(f"y_{n}" for n in range(68))
    rows = numbers(all_68().T if header else all_68())
    text = f"file,{names}\na.jpg,{rows}\n" if header else f"a.jpg,{rows}\n"
    landmarks = read(tmp_path, text)
    np.testing.assert_allclose(the_face(landmarks), FACE, atol=1e-9)
    assert "68 points" in landmarks.understood


MTCNN = dict(zip(NAMES, FACE.tolist(), strict=True))


@pytest.mark.parametrize(
    "held",
    [
        MTCNN,
        [MTCNN],
        [{"box": [1, 2, 3, 4], "confidence": 0.99, "keypoints": MTCNN}],
        {"face_1": {"score": 0.99, "facial_area": [1, 2, 3, 4], "landmarks": MTCNN}},
        {name: {"x": x, "y": y} for name, (x, y) in MTCNN.items()},
        {"bbox": [1, 2, 3, 4], "kps": FACE.tolist()},
        [FACE.tolist()],
        [FACE.ravel().tolist()],
        FACE.ravel().tolist(),
        all_68().tolist(),
    ],
)
def test_json_of_other_programs(tmp_path, held):
    np.testing.assert_allclose(the_face(read(tmp_path, {"a.jpg": held}, "l.json")), FACE)


@pytest.mark.parametrize("held", [all_68().tolist(), [all_68().ravel().tolist()]])
def test_68_points_in_json_are_said_to_be_five_of_68(tmp_path, held):
    landmarks = read(tmp_path, {"a.jpg": held}, "l.json")
    np.testing.assert_allclose(the_face(landmarks), FACE, atol=1e-9)
    assert landmarks.understood == "five of the 68 points of iBUG 300-W and dlib"


def test_json_as_a_list_of_pictures(tmp_path):
    tree = [{"image_path": "a.jpg", "landmarks": FACE.tolist()}]
    assert list(read(tmp_path, tree, "l.json").faces) == ["a.jpg"]


def test_names_of_the_persons_left_and_right_in_json(tmp_path):
    named = dict(zip(NAMES, FACE[list(PERSONS)].tolist(), strict=True))
    landmarks = read(tmp_path, {"a.jpg": named}, "l.json")
    np.testing.assert_allclose(the_face(landmarks), FACE)
    assert "the person's" in landmarks.understood


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "path,a,b,c,d,e,f,g,h,i,j\na.jpg,1,2,3,4,5,6,7,8,9,10\n", "names no five points"),
        ("l.csv", "path,x1,y1,x2,y2,x4,y4,x5,y5,x6,y6\na.jpg,1,2,3,4,5,6,7,8,9,10\n", "header"),
        ("l.csv", f"a.jpg,{numbers(all_68())},1\n", "line 1: expected path"),
        ("l.json", '{"a.jpg": {"left_eye": [1, 2]}}', "'a.jpg': expected .*left_eye"),
        ("l.json", '{"a.jpg": [true, 1, 2, 3, 4, 5, 6, 7, 8, 9]}', "'a.jpg'"),
        ("l.json", "[1, 2]", "expected"),
    ],
)
def test_what_is_not_understood_shows_the_form(tmp_path, name, text, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text, name)


def test_shares_of_the_picture(tmp_path):
    landmarks = read(tmp_path, f"a.jpg,{numbers(np.round(FACE / (500, 400), 5))}\n")
    assert "look normalised" in landmarks.understood
    (points,) = landmarks.in_picture(tmp_path / "a.jpg", 500, 400)
    np.testing.assert_allclose(points, FACE, atol=0.01)


NAMED = "path," + ",".join(f"{name}_x,{name}_y" for name in NAMES)
ONE_POINT = np.full((5, 2), 7.0)


def test_faces_that_fit_no_template_do_not_say_whose_left_it_is(tmp_path):
    """Where no face says it, it is the image's; a face that does may stand anywhere in the file."""
    landmarks = read(tmp_path, f"{NAMED}\na.jpg,{numbers(ONE_POINT)}\n")
    np.testing.assert_array_equal(the_face(landmarks), ONE_POINT)
    assert landmarks.understood.endswith(", left and right are the image's")
    rows = f"a.jpg,{numbers(ONE_POINT)}\nb.jpg,{numbers(FACE[list(PERSONS)])}\n"
    landmarks = read(tmp_path, f"{NAMED}\n{rows}")
    np.testing.assert_allclose(landmarks.faces["b.jpg"][0], FACE)
    assert landmarks.understood.endswith(", left and right are the person's")


IN_ORDER = "points in order: left eye, right eye, nose, left mouth corner, right mouth corner"


def shares(middle):
    """A face of a tenth of the picture around this place."""
    return (TEMPLATE - TEMPLATE.mean(axis=0)) / 1120 + middle


@pytest.mark.parametrize(("negative", "span"), [(0, "0 to 1"), (2, "0 to 1"), (3, "-1 to 1")])
def test_shares_are_centred_where_more_than_a_tenth_of_the_faces_are_left_of_0(
    tmp_path, negative, span
):
    middles = [(-0.4, 0.3), (0.3, -0.4)] * negative
    faces = [shares(middle) for middle in middles[:negative]] + [shares((0.5, 0.5))] * 20
    text = "".join(f"a.jpg,{numbers(np.round(face, 5))}\n" for face in faces[:20])
    landmarks = read(tmp_path, text)
    assert landmarks.understood == (
        f"{IN_ORDER}, points look normalised ({span}), multiplied by the picture's size"
    )
    assert landmarks.normalised
    assert landmarks.centred == (span == "-1 to 1")


def test_a_face_whose_point_lies_left_of_the_picture_is_not_centred(tmp_path):
    face = shares((0.02, 0.01))
    assert (face.mean(axis=1) < 0).any()
    assert (face.mean(axis=0) > 0).all()
    landmarks = read(tmp_path, f"a.jpg,{numbers(np.round(face, 5))}\n")
    assert (landmarks.normalised, landmarks.centred) == (True, False)


def test_names_that_no_image_asked_for(tmp_path):
    landmarks = read(tmp_path, f"a.jpg,{numbers(FACE)}\nb.jpg,{numbers(FACE)}\n")
    assert landmarks.unmatched() == ["a.jpg", "b.jpg"]
    landmarks.of(tmp_path / "b.jpg")
    assert landmarks.unmatched() == ["a.jpg"]


@pytest.mark.parametrize(
    ("name", "place"),
    [("Left Eye", 0), ("R_pupil", 1), ("nose.tip", 2), ("lip-left", 3), ("left_eyebrow", None),
     ("left_eye_inner_corner", None), ("mouth_center_top_lip", None), ("ear_left", None), ("x", None)],
)  # fmt: skip
def test_what_a_name_means(name, place):
    assert place_of(name) == place
