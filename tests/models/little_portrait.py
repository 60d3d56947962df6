"""LivePortrait, small enough for any test. What its 7³ convolution costs goes by the volume, whatever the
widths: narrow alone would not do.
"""

from dataclasses import replace

from models.liveportrait import LivePortrait
from models.liveportrait.generator import Layout
from models.registry import register

LITTLE = Layout(
    side=32,
    depth=4,
    width=4,
    depths=(1, 1, 1, 1),
    widths=(8, 8, 16, 16),
    least=4,
    most=16,
    levels=2,
    label=8,
    features=16,
)


@register
class LittlePortrait(LivePortrait):
    spec = replace(
        LivePortrait.spec,
        name="little_portrait",
        source=replace(LivePortrait.spec.source, size=2 * LITTLE.side),
        driving=replace(LivePortrait.spec.driving, size=LITTLE.side),
    )

    def __init__(self) -> None:
        super().__init__(LITTLE)
