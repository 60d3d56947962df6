"""Do the figures of walks say what they are for?"""

import pytest
import torch

from trainer.moves import spread


def test_spread_is_that_within_videos_in_that_between_them() -> None:
    people = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.0, -3.0]])
    within = torch.tensor([[-0.5, 0.5], [0.5, -0.5]])
    appearance = people[:, None] + within
    # Two values half apart from their mean deviate by √(2·¼/1); four people by √(2/3) and √(18/3).
    expected = 0.5**0.5 / (((2 / 3) ** 0.5 + 6**0.5) / 2)
    assert spread(appearance) == pytest.approx(expected, rel=1e-6)
    assert spread(people[:, None].expand(-1, 5, -1)) == 0
