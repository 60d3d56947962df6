import pytest

from tests.trainer.metrics.golden_metrics import Fixture


@pytest.fixture(scope="session")
def golden() -> Fixture:
    return Fixture()
