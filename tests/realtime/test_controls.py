"""Which settings are taken, and what the generator gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract import Controls
from realtime.controls import ControlPanel
from tests.flat import Flat

OPEN = {"mouth_pixels": 1.0, "shading": 1.0}
SHUT = {"mouth_pixels": 0.0, "shading": 0.0}


def test_only_what_the_model_honours_is_offered() -> None:
    panel = ControlPanel(Flat.spec, OPEN)
    assert tuple(panel.describe()) == Flat.spec.controls
    assert panel.describe()["relative"] == {"min": 0, "max": 1, "step": 1, "value": 1}
    with pytest.raises(ValueError, match="unknown control 'lips'; known: relative, gain_expression"):
        panel.check({"lips": 1})


def test_ceilings_hold_even_for_controls_that_are_not_offered() -> None:
    tensors = ControlPanel(Flat.spec, SHUT).tensors({"mouth_pixels": 1.0, "gain_expression": 1.5}, "cpu")
    assert float(tensors.mouth_pixels) == float(tensors.shading) == 0
    assert float(tensors.gain_expression) == 1.5
    assert float(tensors.eyes) == 1


@given(
    st.dictionaries(
        st.sampled_from(Controls._fields), st.floats(allow_nan=True) | st.integers() | st.booleans()
    )
)
def test_what_is_accepted_is_in_range(wishes: dict[str, float]) -> None:
    panel = ControlPanel(Flat.spec, SHUT)
    try:
        checked = panel.check(wishes)
    except ValueError:
        return
    for name, value in checked.items():
        assert 0 <= value <= panel.describe()[name]["max"]
        assert value == wishes[name]
