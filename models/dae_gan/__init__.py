"""Zeng et al., *Realistic Face Reenactment via Self-Supervised Disentangling of Identity and Pose*: two
deforming autoencoders part a face without poses from a pose without a face; a generator draws the one in the
other.

embedders.py  face embedder F (pictures → embedded face f̂) and pose embedder P (frame → pose code p̂)
synthesis.py  generator G (f̂, p̂ → picture) and discriminator D
reenactor.py  the contract's six calls
"""

from models.dae_gan.reenactor import DaeGan

__all__ = ["DaeGan"]
