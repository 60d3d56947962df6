"""The page of samples that a run is looked at with."""

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.data.views import Views
from trainer.drawings import attention_map, error_map, flow_wheel, panel
from trainer.recipe import Recipe

MOST = 6  # people on a page
LEAST_SIDE = 96  # pixels; smaller pictures are enlarged


def page_of(recipe: Recipe, views: Views) -> Tensor:
    """3×H×W in [0, 1]: a row each for some of the clips, with source, target, what the recipe draws, by how
    much that is wrong, and what goes on inside."""
    some = views.parts(MOST)[0]
    side = some.image.shape[-1]
    columns = dict(recipe.columns(some))
    if "target" in columns:
        pairs = zip(columns["drawn"], columns["target"], strict=True)
        columns["error"] = torch.stack([error_map(*pair) for pair in pairs])
    for name, look in recipe.looks(some).items():
        columns[name] = _pictures(look, side)
    rows = [
        [column[row].float().clamp(0, 1).cpu() for column in columns.values()]
        for row in range(len(some.image))
    ]
    return panel(rows, list(columns), enlarged=max(1, -(-LEAST_SIDE // side)))


def _pictures(look: Tensor, side: int) -> Tensor:
    """B×3×side×side, of pictures, flows (two channels) or attention (one)."""
    if look.shape[1] == 2:
        look = torch.stack([flow_wheel(one) for one in look])
    elif look.shape[1] == 1:
        look = torch.stack([attention_map(one) for one in look])
    return F.interpolate(look.float(), (side, side)) if look.shape[-1] != side else look
