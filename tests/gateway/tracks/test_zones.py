"""The zones of a face are those that its middle is in."""

import numpy as np

from edge_fiqa.gateway.tracks.face_finder import SeenFace
from edge_fiqa.gateway.tracks.zones import Zones

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
TOP = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.0, 0.5))
ARROW = ((0.0, 0.0), (1.0, 0.5), (0.0, 1.0), (0.5, 0.5))  # its back is cut out


def of(zones, x, y, size=(400, 200)):
    """Of a face with its middle at (x, y)."""
    return zones.of((x - 10, y - 20, 20, 40), size)


def test_a_face_is_in_every_zone_that_its_middle_is_in():
    zones = Zones({"left": LEFT, "top": TOP})
    assert of(zones, 100, 50) == ("left", "top")
    assert of(zones, 100, 150) == ("left",)
    assert of(zones, 300, 50) == ("top",)
    assert of(zones, 300, 150) == ()
    assert of(zones, 200, 150) == ("left",)  # on the border
    assert of(zones, 100, 150, (800, 400)) == ("left", "top")  # shares, not pixels


def test_a_zone_may_have_a_cut():
    zones = Zones({"arrow": ARROW})
    assert of(zones, 300, 100) == ("arrow",)
    assert of(zones, 100, 100) == ()
    assert of(zones, 100, 40) == ("arrow",)


def test_faces_are_noted_with_their_zones():
    face = SeenFace((90.0, 30.0, 20.0, 40.0), (), 0.9, None, "pose")
    image = np.zeros((200, 400, 3), np.uint8)
    (noted,) = Zones({"left": LEFT}, ["left"]).noted([face], image)
    assert (noted.zones, noted.box, noted.skip) == (("left",), face.box, "pose")
    assert Zones({}).noted([face], image) == [face]
