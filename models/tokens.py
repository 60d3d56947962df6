"""Arithmetic on structure codes that are latent tokens: numbers whose differences mean motion."""

import torch
from torch import Tensor

from models.contract import Controls

CONTROLS = ("relative", "gain_expression")  # what can be honoured: a token doesn't tell pose from expression


def transferred(driver: Tensor, neutral: Tensor, source: Tensor, controls: Controls) -> Tensor:
    """The source's token (1×… or B×…) moved as the driver's (B×…) is from his neutral one, or, absolutely,
    from the source's: then, at a gain of one, the driver's own, which is what the networks' authors draw.
    """
    ones = [1] * (driver.dim() - 1)
    origin = torch.where(controls.relative.view(-1, *ones) > 0.5, neutral, source)
    return source + controls.gain_expression.view(-1, *ones) * (driver - origin)
