"""Video files, opened with words for whoever named them. PyAV is imported when it is first needed."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB


def open_container(path: Path) -> "InputContainer":
    """A media file. Raises ValueError, in one line for a user, for anything else."""
    import av

    try:
        return av.open(str(path))
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except PermissionError:
        raise ValueError(f"{path} can't be read: permission denied") from None
    except (av.FFmpegError, OSError):
        raise ValueError(f"{path} is not a video, or its end, where the index lies, is missing") from None


def video_of(container: "InputContainer") -> "VideoStream | None":
    """The first video stream that is one: a sound file's cover counts as video too."""
    from av.stream import Disposition

    streams = container.streams.video
    return next((one for one in streams if not one.disposition & Disposition.attached_pic), None)


def upright(image: "VideoFrame") -> Picture:
    """RGB by the clip's own colour matrix and range, turned as its metadata asks: phones film sideways."""
    picture = np.asarray(image.to_ndarray(format="rgb24"), np.uint8)
    quarters = round(image.rotation / 90) % 4  # counterclockwise
    return np.ascontiguousarray(np.rot90(picture, quarters)) if quarters else picture
