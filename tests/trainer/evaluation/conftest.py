"""People who are rendered once for all tests here."""

import pytest

from trainer.evaluation.pairs import Pairs, crossing_pairs, self_pairs

SIZE = 48


@pytest.fixture(scope="session")
def crossing() -> Pairs:
    return crossing_pairs(seed=0, identities=3, motions=1, frames=2, size=SIZE, learnt=2)


@pytest.fixture(scope="session")
def own(crossing: Pairs) -> Pairs:
    return self_pairs(crossing)
