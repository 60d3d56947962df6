"""Rendered people who do what people in videos did:

render = ReplayedClips(FilmedTracks(folder, cache), frames=64)  # for `render_clips` and `RenderedStream`
"""

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from trainer.data.rendered import FPS
from trainer.data.synthetic.seeds import rng
from trainer.data.tracks import Tracks

if TYPE_CHECKING:  # imported when they are called: making the template takes seconds
    from trainer.data.synthetic.clip import Clip
    from trainer.data.synthetic.motion import Motion


class ReplayedClips:
    """Renders clips (`RenderClip`) along tracks: which one, from which of its frames on, and through which
    lens, is drawn for each clip of each identity. To the truth it adds motion: 1, the number of the track,
    and motion_frame: F, which of its frames each is, at 25 a second. Can be pickled.

    frames: of the longest clip that will be asked for. Raises ValueError, in one line, where no track has so
    many; shorter ones are left out, and told in `remarks`.
    """

    def __init__(self, source: Tracks, frames: int) -> None:
        found = sorted(source.tracks(), key=lambda track: track.name)
        self.remarks = list(source.remarks)
        self.frames = frames
        paced = [(track, track.at(FPS)) for track in found]
        kept = [(track, points) for track, points in paced if len(points) >= frames]
        self._points = [points for _, points in kept]
        self._motions: dict[int, Motion] = {}  # of whole tracks, as they are needed
        self.remarks += [
            f"motion {track.name} left out: {len(points)} frames at {FPS:g} a second, fewer than {frames}"
            for track, points in paced
            if len(points) < frames
        ]
        if not kept:
            longest = max((len(points) for _, points in paced), default=0)
            raise ValueError(
                f"no motion has {frames} frames at {FPS:g} a second, the longest {longest}: "
                "ask for fewer --frames, or give longer videos"
            )
        checksum = 0
        for track, _ in kept:
            for part in (f"{track.name} {track.fps}".encode(), track.points.astype("<f4").tobytes()):
                checksum = zlib.crc32(part, checksum)
        self.content: dict[str, Any] = {  # what the clips depend on
            "motions": f"{len(kept)} of checksum {checksum:08x}",
            "motion_names": [track.name for track, _ in kept],
        }

    def __call__(
        self,
        seed: int,
        identity: int,
        clip: int,
        frames: int,
        size: int,
        device: torch.device,
        style: str | None,
        maps: Sequence[str],
    ) -> "Clip":
        """Raises ValueError for a style, and for more frames than were spoken of."""
        from trainer.data.synthetic.clip import render_motion
        from trainer.data.synthetic.motion import FOVS_DEG, Motion
        from trainer.data.synthetic.people import CLIPS

        if style is not None:
            raise ValueError(f"style {style!r}: motions that are replayed have their own")
        if frames > self.frames:
            raise ValueError(f"{frames} frames: motions were chosen for clips of at most {self.frames}")
        stream = rng(seed, "replay", identity * CLIPS + clip)
        number = int(stream.integers(len(self._points)))
        first = int(stream.integers(len(self._points[number]) - frames + 1))
        fov = FOVS_DEG[0] * (FOVS_DEG[1] / FOVS_DEG[0]) ** stream.random()
        shown = slice(first, first + frames)
        motion = framed(Motion(*(part[shown] for part in self._motion(number))))
        motion = motion._replace(fov=torch.full((frames,), float(fov)))
        made = render_motion(seed, identity, clip, motion, size, device, maps)
        where = {
            "motion": torch.tensor([number], device=device),
            "motion_frame": torch.arange(first, first + frames, device=device),
        }
        return made._replace(parameters=made.parameters | where)

    def _motion(self, number: int) -> "Motion":
        """Of a whole track: the person's own face is judged by all of it."""
        from trainer.data.synthetic.replay import mean_basis, replay

        if number not in self._motions:
            replayed = replay(self._points[number], FPS, mean_basis())
            assert replayed.valid.all()  # a track is a shot, which has a face in every frame
            self._motions[number] = replayed.motion
        return self._motions[number]


def framed(motion: "Motion") -> "Motion":
    """With the face in the middle of the picture and of scale 1, by the median; further away where it would
    else leave the range that drawn motion keeps to."""
    from trainer.data.synthetic.motion import SCALES, SHIFT

    usual = motion.scale.median()
    shift, scale = (motion.shift - motion.shift.median(0).values) / usual, motion.scale / usual
    zoom = min(1.0, SHIFT / max(float(shift.abs().max()), 1e-6), SCALES[1] / float(scale.max()))
    return motion._replace(shift=(shift * zoom).clamp(-SHIFT, SHIFT), scale=(scale * zoom).clamp(*SCALES))
