"""A driver without a camera: the mean face moves its head and speaks, before anybody looks at the clock."""

import numpy as np
import torch

from models.contract import CropRule, Observation
from models.describe import FACE, FRAME, example, mean_face
from models.face_geometry import Array
from models.observation import to_levels
from realtime.avatar import Picture, Portrait
from realtime.engine import Engine

FRAMES = 60  # after which the motion begins anew
TURN = np.radians(15)  # the head, to each side; half as much up and down
SWAY = 0.1  # × the face's width: the head, to each side and up and down
GAP = 0.08  # × the face's width: the mouth's opening at its widest
WORDS = 4  # times that the mouth opens while the head goes round once


def moving_face(frame: int) -> Array:
    """Landmarks of one frame: 478×3, pixels of a picture of FRAME × FRAME."""
    phase = 2 * np.pi * frame / FRAMES
    yaw, pitch = TURN * np.sin(phase), TURN / 2 * np.cos(phase)
    aside = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    middle = np.array([FRAME / 2, FRAME / 2, 0])
    shift = SWAY * FACE * np.array([np.sin(phase), 0.5 * np.cos(phase), 0])
    points = mean_face(GAP * (1 - np.cos(WORDS * phase)) / 2) - middle
    return np.asarray(points @ (aside @ nod).T + middle + shift)


def recording(rule: CropRule) -> list[Observation]:
    """All frames as a tracker hands them on (batch 1, on the CPU). No picture is like another."""
    frames = []
    for frame in range(FRAMES):
        seen = example(rule, moving_face(frame))
        frames.append(to_levels(seen._replace(image=torch.roll(seen.image, frame, 3))))
    return frames


def portrait(engine: Engine) -> Portrait:
    """The mean face in a smooth picture. Nothing is detected: its landmarks are known."""
    ramp = np.linspace(0, 255, FRAME).astype(np.uint8)
    picture: Picture = np.stack(np.broadcast_arrays(ramp, ramp[:, None], np.uint8(128)), 2)
    return engine.portrait(picture, [example(engine.generator.spec.source)])
