"""How wide everything is, for each size of the network."""

from dataclasses import dataclass

LEVELS = 4  # of features and motion maps


@dataclass(frozen=True)
class Shape:
    """Widths in channels. Sections and figures are those of the paper's supplement."""

    side: int
    """Of the pictures, pixels: 64 or a larger power of two. The paper's is 256 (section 3.2)."""
    token: int
    """Numbers of a token; the paper's are 32."""
    encoder: tuple[int, ...]
    """E_T: after the first layer, and after each residual block, the last of which ends at 4×4."""
    features: tuple[int, ...]
    """E_F: after the first layer, and after each of five halvings, the last four of which are f¹…f⁴."""
    motion: tuple[int, ...]
    """IMF_D: of the learned constant, side / 64 pixels a side, then of m⁴, m³, m² and m¹. Without the last,
    f¹ is taken to its place by the attention of level 2."""
    decoder: tuple[int, ...]
    """D_F: after each of five doublings."""
    blocks: int = 4
    """Transformer blocks of each level (section 3.1)."""
    heads: tuple[int, int, int, int] = (8, 8, 8, 8)
    """Of those blocks, at levels 1 to 4. The paper does not say."""
    growth: int = 4
    """Inner width of their feed-forward networks, × the outer one. The paper does not say."""

    def __post_init__(self) -> None:
        assert self.side >= 64
        assert self.side & (self.side - 1) == 0
        assert 4 * 2 ** (len(self.encoder) - 1) == self.side
        assert len(self.features) == 2 + LEVELS
        assert len(self.motion) in (LEVELS, 1 + LEVELS)
        assert len(self.decoder) == 5

    @property
    def finest(self) -> int:
        """The finest level that attends."""
        return 1 + LEVELS - (len(self.motion) - 1)

    def side_of(self, level: int) -> int:
        """Of the features of a level, pixels."""
        return self.side >> (level + 1)

    def width_of(self, level: int) -> int:
        """Of the features of a level as the encoder leaves them."""
        return self.features[level + 1]

    def aligned_width(self, level: int) -> int:
        """Of the features of a level as the decoder gets them: the motion map's, where there is one."""
        return self.width_of(level) if level < self.finest else self.motion[1 + LEVELS - level]


SHAPES = {
    # Figure 1. The aligned features are as wide as the motion maps: 256, 512, 512, 512.
    "paper": Shape(
        side=256,
        token=32,
        encoder=(64, 64, 128, 256, 512, 512, 512),
        features=(64, 64, 128, 256, 512, 512),
        motion=(512, 512, 512, 512, 256),
        decoder=(512, 512, 256, 128, 64),
    ),
    # For live use, two processor cores included: attends at up to 32², which takes f¹ along.
    "light": Shape(
        side=256,
        token=32,
        encoder=(16, 32, 64, 128, 256, 256, 256),
        features=(32, 64, 64, 128, 256, 256),
        motion=(256, 256, 256, 128),
        decoder=(256, 128, 64, 32, 16),
        heads=(2, 2, 8, 8),
    ),
    # For training on two processor cores.
    "tiny": Shape(
        side=64,
        token=32,
        encoder=(8, 16, 32, 64, 128),
        features=(8, 24, 48, 64, 64, 64),
        motion=(64, 64, 64, 64, 48),
        decoder=(64, 64, 48, 24, 12),
        blocks=1,
        heads=(2, 4, 4, 4),
        growth=2,
    ),
}
