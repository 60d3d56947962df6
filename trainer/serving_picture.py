"""A picture of what an exported generator does: people, each moved by the next, drawn by its graphs.

The people are rendered (`trainer/data/synthetic`), of a seed that no training takes.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from models.contract import EDITS, Controls, Observation, Reenactor, cat_codes
from models.describe import named
from models.observation import observe, to_unit
from trainer.trial import Session

SEED = 2**31 - 1  # of the people
PEOPLE = 3
FRAMES = 6  # of each, from which the neutral pose is taken
SIDES = (128, 256)  # of rendered pictures, pixels, at least and at most: the network's own between them
SHOWN = 256  # side on the page, pixels
VALUES = (-1.0, -0.5, 0.0, 0.5, 1.0)  # of a slider on its page
STYLE = "stills"  # each frame another face, over all that faces do

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB
Network = Reenactor[Any, Any]


class Person(NamedTuple):
    """What the network sees of somebody."""

    source: Observation  # the frame that is nearest to the mean of them
    driving: Observation  # one that is as far from it as the frames usually are
    every: Observation  # all of them, as driving frames


def serving_picture(network: Network, sessions: Mapping[str, Session]) -> Picture:
    """source | driving | drawn, for each of `PEOPLE`, as a server would draw them: relative to the driver's
    neutral pose. The same in every call.

    sessions: the network's graphs, by name. Where it prepares portraits on the host, it does so in torch.
    """
    from trainer.data.realism.sheet import laid_out

    people = [_person(network, identity) for identity in range(PEOPLE)]
    rows = []
    for index, person in enumerate(people):
        driver = people[(index + 1) % PEOPLE]
        drawn = _drawn(network, sessions, person.source, driver)
        rows.append(
            np.concatenate([_shown(one) for one in (person.source.image, driver.driving.image, drawn)])
        )
    return laid_out(rows, ("source", "driving", "drawn"), [f"person {index + 1}" for index in range(PEOPLE)])


def sliders_picture(network: Network, sessions: Mapping[str, Session]) -> Picture:
    """What each slider does to a person at rest, from one end to the other. sessions: as above."""
    from trainer.data.realism.sheet import laid_out

    person = _person(network, 0)
    rows = []
    for name in EDITS:
        wishes = [Controls.default()._replace(**{name: torch.tensor([value])}) for value in VALUES]
        drawn = [_drawn(network, sessions, person.source, person, True, controls) for controls in wishes]
        rows.append(np.concatenate([_shown(one) for one in drawn]))
    return laid_out(rows, [f"{value:+g}" for value in VALUES], EDITS)


def _drawn(
    network: Network,
    sessions: Mapping[str, Session],
    source: Observation,
    driver: Person,
    rest: bool = False,
    controls: Controls | None = None,
) -> Tensor:
    """1×3×S×S. rest: the driver is in his neutral pose."""
    if "appearance" in sessions:
        known = sessions["appearance"](dict(named("source", source)))
    else:
        with torch.no_grad():
            known = dict(named("appearance", network.encode_appearance([source])))
    every = sessions["structure"](dict(named("driving", driver.every)))
    codes = {name.replace("structure.", "codes.", 1): tensor for name, tensor in every.items()}
    known |= sessions["neutral"](codes)
    if rest:
        known |= {
            name.replace("neutral.", "structure.", 1): tensor
            for name, tensor in known.items()
            if name.startswith("neutral.")
        }
    else:
        known |= sessions["structure"](dict(named("driving", driver.driving)))
    known |= sessions["transfer"](known | dict(named("controls", controls or Controls.default())))
    return sessions["decode"](known)["rgb"]


def _person(network: Network, identity: int) -> Person:
    from trainer.data.rendered import renderer

    spec = network.spec
    size = min(max(spec.source.size, SIDES[0]), SIDES[1])
    clip = renderer()(SEED, identity, 0, FRAMES, size, torch.device("cpu"), STYLE, ())
    frames = clip.picture.permute(0, 2, 3, 1).contiguous().numpy()
    points = clip.points.double().numpy() * size  # pixels; z is in the scale of x
    far = np.linalg.norm(points - points.mean(0), axis=2).mean(1)
    driving = [
        to_unit(observe(frame, face, spec.driving)) for frame, face in zip(frames, points, strict=True)
    ]
    calm = int(far.argmin())
    source = to_unit(observe(frames[calm], points[calm], spec.source))
    return Person(source, driving[int(far.argsort()[FRAMES // 2])], cat_codes(driving))


def _shown(image: Tensor) -> Picture:
    """1×H×W×3 levels, as large as the page has it. image: 1×3×S×S in [0, 1]."""
    large = F.interpolate(image.float(), (SHOWN, SHOWN), mode="bilinear", antialias=True)
    levels = large.clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.asarray(levels.permute(0, 2, 3, 1).contiguous().numpy())
