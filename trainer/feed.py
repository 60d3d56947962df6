"""What a run learns from, and what it is looked at with: the same calls for prepared folders and for people
who are rendered meanwhile."""

from pathlib import Path
from typing import Any, overload

import torch

from models.contract import CropRule
from trainer.config import SYNTHETIC, Settings
from trainer.data.dataset import ClipDataset
from trainer.data.loader import Loader
from trainer.data.rendered import RenderClip
from trainer.data.samples import Augmentation, Sample, collate
from trainer.data.stream import RenderedStream
from trainer.data.synthetic.seeds import rng
from trainer.data.views import Views, views_of
from trainer.data.walks import Walked
from trainer.data.workers import Rank
from trainer.recipe import Recipe, Source

LARGER = 1.5  # side of rendered pictures / side of the network's crops
SHOWN_SEED = 1  # of the people that a run is looked at with, when they are rendered


def source_of(
    settings: Settings,
    recipe: Recipe,
    share: int,
    here: Rank,
    device: torch.device,
    render: RenderClip | None = None,
) -> Source:
    """Samples to train with, `share` · accumulate of them to a batch of this rank.

    A recipe that learns from what it makes itself has its own. Raises ValueError for a folder that is no data
    set or is too small, and for one without landmarks where the recipe needs them; OSError where it can't be
    read.
    """
    count, asked = share * settings.accumulate, settings.samples
    if (own := recipe.source(count, here)) is not None:
        return own
    augmentation = Augmentation(mirror=asked.mirror, colour=asked.colour)
    if settings.data == SYNTHETIC:
        return RenderedStream(
            count,
            recipe.frames,
            rendered_size(settings, recipe),
            device,
            settings.seed,
            split="train",
            held_out=asked.held_out,
            rank=here.rank,
            world=here.world,
            style=asked.style,
            augmentation=augmentation,
            render=render,
        )
    dataset = _dataset(settings, recipe, "train")
    if len(dataset) < settings.batch:
        raise ValueError(
            f"{settings.data}: too little data: {len(dataset)} clips to train, and a batch takes "
            f"{settings.batch}"
        )
    return Loader(
        dataset,
        count,
        recipe.frames,
        settings.seed,
        here.rank,
        here.world,
        asked.workers,
        augmentation,
        labels=False,
        pin=device.type == "cuda",
        seen=recipe.needs_points,
    )


def shown(
    settings: Settings, recipe: Recipe, count: int, device: torch.device, render: RenderClip | None = None
) -> Views:
    """So many samples of people that training does not see: always the same, on the device. Raises as
    `source_of` does."""
    return seen_by(recipe, held_out(settings, recipe, count, device, render), device)


def held_out(
    settings: Settings,
    recipe: Recipe,
    count: int,
    device: torch.device,
    render: RenderClip | None = None,
    labels: bool = False,
) -> Sample:
    """The samples of `shown`. labels: with masks, where there are any."""
    if settings.data == SYNTHETIC:
        size = rendered_size(settings, recipe)
        stream = RenderedStream(
            count,
            recipe.frames,
            size,
            device,
            SHOWN_SEED,
            split="test",  # a run may be of that seed, too
            held_out=settings.samples.held_out,
            style=settings.samples.style,
            prefetch=1,
            render=render,
        )
        return next(iter(stream))
    dataset = _dataset(settings, recipe, "test")
    # From the end: evaluations begin at the beginning, and the best is chosen by these.
    each = [dataset[-1 - number % len(dataset)] for number in range(count)]
    random = rng(SHOWN_SEED, "shown", 0)
    return collate(
        [clip.sample(random, recipe.frames, labels=labels, seen=recipe.needs_points) for clip in each]
    )


@overload
def seen_by(recipe: Recipe, samples: Sample, device: torch.device, labels: bool = False) -> Views: ...
@overload
def seen_by(recipe: Recipe, samples: Walked, device: torch.device, labels: bool = False) -> Walked: ...
def seen_by(
    recipe: Recipe, samples: Sample | Walked, device: torch.device, labels: bool = False
) -> Views | Walked:
    """What the recipe's network sees of a batch, on the device. labels: with masks."""
    if isinstance(samples, Walked):
        return samples.to(device)
    picture, points, valid = (
        tensor.to(device, non_blocking=True) for tensor in (samples.picture, samples.points, samples.valid)
    )
    on_device = samples._replace(picture=picture, points=points, valid=valid)
    if labels:
        on_device = on_device._replace(labels=samples.labels.to(device))
    return views_of(on_device, crop_of(recipe), "frame", labels)


def crop_of(recipe: Recipe) -> CropRule:
    """The square that training sees: the source's, for both, since both are of one clip."""
    return recipe.generator.spec.source


def rendered_size(settings: Settings, recipe: Recipe) -> int:
    return settings.samples.size or round(LARGER * recipe.generator.spec.source.size)


def _dataset(settings: Settings, recipe: Recipe, split: Any) -> ClipDataset:
    dataset = ClipDataset(Path(settings.data), split, settings.samples.held_out)
    if recipe.needs_points and (lacking := [clip for clip in dataset.clips if not clip.landmarks]):
        raise ValueError(
            f"{settings.data}: recipe {recipe.name} needs landmarks, and clip {lacking[0].id} has none"
        )
    return dataset
