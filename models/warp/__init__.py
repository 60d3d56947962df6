"""Training-free reenactment: the source picture is bent by the driver's landmarks.

codes.py      what is known of a portrait and of a driving frame
features.py   eyes and mouth: where they lie, how far they are open, the edges that divide them
motion.py     landmarks: pose, expression, lids, gaze, lips
field.py      from a few hundred control points to a dense displacement, prepared once a portrait
shading.py    the driver's low-pass change of shading
eyes.py       eyeballs under moving lids
mouth.py      the inside of an opening mouth
layers.py     how eyes and mouth are laid over the bent picture
portrait.py   what is prepared once a portrait for shading and eyes
generator.py  the contract's six calls
"""

from models.warp.generator import Warp

__all__ = ["Warp"]
