"""A whole video searched for people, with what they gave written as they leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_fiqa.faces.detector import YuNet
from edge_fiqa.footage.best_folder import BestFolder
from edge_fiqa.footage.best_shots import BestShots, VideoPerson
from edge_fiqa.footage.result import VideoResult, result_of
from edge_fiqa.footage.second_look import CANDIDATE
from edge_fiqa.footage.video_file import VideoFile
from edge_fiqa.gateway.config.gateway import BestShotConfig, DetectorConfig, FacesConfig
from edge_fiqa.gateway.tracks.face_finder import FaceFinder
from edge_fiqa.gateway.tracks.tracker import Tracker
from edge_fiqa.policies.policy import Fixed
from edge_fiqa.scoring.pipeline import Scores


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """detector: the file of a YuNet. longest_side: pixels to which frames are reduced for it.

    fps: frames in a second of the video that are searched. min_eye_px: smallest distance of the eyes.
    """

    video: Path
    folder: Path
    detector: Path
    fps: float
    longest_side: int
    min_eye_px: float


class VideoSearch:
    """One video and the folder of its best shots.

    Raises ConfigError for a video, detector or folder that cannot be used.
    """

    def __init__(self, request: SearchRequest, scorer: Scores) -> None:
        self.video = video = VideoFile(request.video, request.fps)
        self.searched = 0
        lost_s = max(BestShotConfig().lost_s, 2 * video.period_s)
        self._shots = BestShots(
            video.name,
            FaceFinder(
                DetectorConfig(model=request.detector, longest_side=request.longest_side),
                FacesConfig(min_eye_px=request.min_eye_px),
            ),
            YuNet(request.detector, CANDIDATE).detect,
            Tracker(lost_s, track=not video.is_still),
            scorer,
            [Fixed()],
            request.min_eye_px,
        )
        begun = result_of(video, (), complete=False, searched=0, unconfirmed=0)
        self.folder = BestFolder(request.folder, begun)

    def run(self, stopped: Callable[[], bool], on_time: Callable[[float], None]) -> VideoResult:
        """Search to the end, or until `stopped`. What was written stays, whatever is raised.

        on_time: called with the seconds of the video after every frame that was searched.
        """
        try:
            complete = self._search(stopped, on_time)
            self._write(self._shots.end())
        except BaseException:
            self.folder.write_index(self.result(complete=False))
            raise
        finally:
            self.video.close()
        result = self.result(complete=complete)
        self.folder.write_index(result)
        return result

    def result(self, *, complete: bool) -> VideoResult:
        """Of what was searched so far."""
        return result_of(
            self.video,
            self.folder.persons,
            complete=complete,
            searched=self.searched,
            unconfirmed=self._shots.unconfirmed,
        )

    def _search(self, stopped: Callable[[], bool], on_time: Callable[[float], None]) -> bool:
        """Whether the video was searched to its end."""
        for frame in self.video:
            self._write(self._shots.add(frame))
            self.searched += 1
            on_time(frame.time_s)
            if stopped():
                return False
        return True

    def _write(self, people: Sequence[VideoPerson]) -> None:
        for person in people:
            self.folder.add(person)
        if people and self.folder.is_due():
            self.folder.write_index(self.result(complete=False))
