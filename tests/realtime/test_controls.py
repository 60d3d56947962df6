"""Which settings are taken, and what the generator gets."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract import EDITS, Controls
from realtime.controls import ControlPanel
from tests.flat import Flat

OPEN = {"mouth_pixels": 1.0, "shading": 1.0}
SHUT = {"mouth_pixels": 0.0, "shading": 0.0}
EDITED = replace(Flat.spec, controls=(*Flat.spec.controls, *EDITS))


def test_only_what_the_model_honours_is_offered() -> None:
    panel = ControlPanel(Flat.spec, OPEN)
    assert tuple(panel.describe()) == Flat.spec.controls
    assert panel.describe()["relative"] == {"min": 0, "max": 1, "step": 1, "value": 1}
    with pytest.raises(ValueError, match="unknown control 'lips'; known: relative, gain_expression"):
        panel.check({"lips": 1})


def test_sliders_go_both_ways_from_nought() -> None:
    panel = ControlPanel(EDITED, OPEN)
    assert panel.describe()["turn"] == {"min": -1, "max": 1, "step": 0.05, "value": 0}
    assert panel.check({"turn": -1, "jaw": 1, "nod": 0.0}) == {"turn": -1, "jaw": 1, "nod": 0}
    for value in (-1.01, 1.01):
        with pytest.raises(ValueError, match="control smile: must be from -1 to 1"):
            panel.check({"smile": value})
    with pytest.raises(ValueError, match="gain_expression: must be from 0 to 2"):
        panel.check({"gain_expression": -0.1})
    tensors = panel.tensors({**panel.defaults, "blink": -0.5}, "cpu")
    assert [float(getattr(tensors, name)) for name in EDITS] == [0, 0, 0, 0, 0, -0.5]


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
    panel = ControlPanel(EDITED, SHUT)
    try:
        checked = panel.check(wishes)
    except ValueError:
        return
    for name, value in checked.items():
        assert panel.describe()[name]["min"] <= value <= panel.describe()[name]["max"]
        assert value == wishes[name]
