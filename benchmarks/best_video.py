"""Is `edge-fiqa best` faster than a 720p video of 25 frames/s plays, and does it see who is in it?

    python benchmarks/best_video.py VIDEO ... [--seconds 20] [-o benchmarks/results/NAME.json]

Each video is first made into 720p H.264 at 25 frames/s, played over and over for so many seconds
(PyAV, which comes with the gateway's tracker). Whole processes are timed from outside, start-up
included. `by_processor_time` is the ratio on one core that has nothing else to do, whatever else the
machine does meanwhile.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
from common import new_result, parser, write_result

FPS, SIZE = 25, (1280, 720)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("videos", type=Path, nargs="+")
    arguments.add_argument("--seconds", type=int, default=20)
    options = arguments.parse_args()
    result = new_result(__doc__) | {"load_before": os.getloadavg()[0], "rows": []}
    with tempfile.TemporaryDirectory() as place:
        for number, video in enumerate(options.videos):
            clip = Path(place) / f"{number}.mp4"
            make_clip(video, clip, options.seconds)
            row = {"video": video.name, "as_it_is": search(video, Path(place) / f"{number}-as-is")}
            row["as_720p25"] = search(clip, Path(place) / f"{number}-720p25")
            result["rows"].append(row)
            print(json.dumps(row))
    result["peak_mb"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    write_result(result, options.output)


def make_clip(source: Path, target: Path, seconds: int) -> None:
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "medium"})
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number, image in enumerate(frames(source, seconds)):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def frames(source: Path, seconds: int):
    """(720, 1280, 3) BGR, each of the source's frames as long as it is shown."""
    video, shown, image = cv2.VideoCapture(str(source)), 0.0, None
    period = 1 / video.get(cv2.CAP_PROP_FPS)
    for number in range(seconds * FPS):
        while image is None or shown <= number / FPS - period:
            decoded, following = video.read()
            if not decoded:
                video = cv2.VideoCapture(str(source))
                continue
            shown += 0 if image is None else period
            image = following
        yield cv2.resize(image, SIZE, interpolation=cv2.INTER_CUBIC)


def search(video: Path, folder: Path) -> dict:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "edge_fiqa", "best", str(video), "-o", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    index = json.loads((folder / "best.json").read_text())
    return {
        "duration_s": index["duration_s"],
        "wall_s": round(wall_s, 2),
        "processor_s": round(processor_s, 2),
        "times_as_fast": round(index["duration_s"] / wall_s, 2),
        "by_processor_time": round(index["duration_s"] / processor_s, 2),
        "persons": [
            {
                "time_s": person["time_s"],
                "quality": (person["record"] or {"quality": {"scalar": None}})["quality"]["scalar"],
                "faces_seen": person["faces_seen"],
                "skipped": person["skipped"],
            }
            for person in index["persons"]
        ],
    }


if __name__ == "__main__":
    main()
