"""LivePortrait (Guo et al., arXiv:2407.03168): its five networks, which take the authors' public weights by
their keys.

appearance.py  F: a portrait's feature volume
motion.py      M: key points, head pose and expression of a picture
keypoints.py   the arithmetic of key points
warping.py     W: takes the volume from the source's key points to the driver's
spade.py       G: draws it
stitching.py   S: corrects key points, so that the head stays on its shoulders (stitching), and so that eyes
               and lips open as far as they are asked to (retargeting)
blocks.py      what several of them are made of, and the sampling of volumes
generator.py   the contract's six calls
"""

from models.liveportrait.generator import LivePortrait

__all__ = ["LivePortrait"]
