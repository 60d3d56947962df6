"""Implicit Motion Function (Gao et al., CVPR 2024): a frame's motion is a token of 32 numbers; attention
between the motion of two frames says from where in the source each place of the picture is taken.

shape.py          the widths of everything, for each size
blocks.py         what the encoder of features and the decoder of frames are made of
encoders.py       picture → token (E_T), picture → features f¹…f⁴ (E_F)
motion.py         token → motion maps m¹…m⁴ (IMF_D)
alignment.py      motion maps and features → features in the driver's pose (IMF_A)
decoder.py        aligned features → picture (D_F)
discriminator.py  picture → how real each patch of it looks (D)
generator.py      the contract's six calls

Levels are counted as in the paper, from fine to coarse: 1 is a quarter of the picture's side (64² of 256²),
4 a thirty-second (8²). B batch, N = H·W places of a level.
"""

from models.imf.discriminator import Discriminator
from models.imf.generator import Imf

__all__ = ["Discriminator", "Imf"]
