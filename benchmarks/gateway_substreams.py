"""Substreams of cameras as files: H.264 of 640x360, ten frames a second, a key frame every two seconds.

Made once for a folder; several cameras may play one file.
"""

from pathlib import Path

import av
from motion_scenes import FPS, HEIGHT, WIDTH, painted, people_of, scene

SUBSTREAMS = {"empty": "empty", "quiet": "quiet", "busy": "crowd"}  # kind -> of motion_scenes
FILES, SECONDS = 4, 30.0
KEY_S = 2  # between two key frames, as cameras have it by default


def write_substreams(data: Path, folder: Path, kind: str) -> list[Path]:
    """Files of this kind; those that are in the folder are taken as they are."""
    files = [folder / f"{kind}{number}.mp4" for number in range(FILES)]
    people = people_of(data, "test")
    for seed, file in enumerate(files):
        if not file.exists():
            part = file.with_suffix(".part.mp4")
            write_h264(part, painted(data, scene(SUBSTREAMS[kind], people, seed, SECONDS)))
            part.rename(file)
    return files


def write_h264(file: Path, images) -> None:
    """images: (360, 640, 3) uint8 BGR."""
    with av.open(str(file), "w") as video:
        stream = video.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.gop_size, stream.max_b_frames = KEY_S * FPS, 0
        stream.options = {"preset": "veryfast", "crf": "26"}
        for image in images:
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            for packet in stream.encode(frame):
                video.mux(packet)
        for packet in stream.encode():
            video.mux(packet)
