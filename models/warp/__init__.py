"""Training-free reenactment: the source picture is bent by the driver's landmarks.

codes.py      what is known of a portrait and of a driving frame
field.py      from a few hundred control points to a dense displacement, prepared once a portrait
layers.py     what bending cannot give: eyeballs under moving lids, the inside of an opening mouth
generator.py  the contract's six calls
"""

from models.warp.generator import Warp

__all__ = ["Warp"]
