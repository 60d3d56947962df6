"""Sliders, on networks of every kind that can have them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models import weights
from models.contract import EDITS, Controls, Reenactor
from models.describe import example
from models.directions import Directed
from models.latent import Latent, Layout
from tests.models.tiny import TOKEN, Tiny


def rows() -> Latent:
    return Latent(layout=Layout(side=64, seen=32, style=16, most=8))


@pytest.fixture(params=[Tiny, rows], ids=["vector", "rows"])
def network(request: pytest.FixtureRequest) -> Directed[Any, Any]:
    torch.manual_seed(0)
    made: Directed[Any, Any] = request.param().eval()
    return made


def drawn_directions(network: Directed[Any, Any]) -> Tensor:
    return torch.randn(len(EDITS), *network.code_shape)


@torch.no_grad()
def moved(network: Reenactor[Any, Any], controls: Controls) -> Tensor:
    """The only tensor of what a driver, who isn't at rest, makes of a source."""
    appearance = network.encode_appearance([example(network.spec.source)])
    bright = example(network.spec.driving)
    dark = bright._replace(image=bright.image / 2)
    structure, neutral = network.encode_structure(bright), network.encode_structure(dark)
    (code,) = network.transfer(structure, neutral, appearance, controls)
    assert isinstance(code, Tensor)
    return code


def test_a_slider_adds_its_direction(network: Directed[Any, Any]) -> None:
    """As much of it as it is asked for, whatever the gains say, and all sliders together."""
    plain = {gain: moved(network, Controls.default(gain_expression=gain)) for gain in (0.0, 1.0)}
    directions = drawn_directions(network)
    network.direct(directions)
    for gain, before in plain.items():
        for index, name in enumerate(EDITS):
            for value in (-1.0, 0.3):
                after = moved(network, Controls.default(gain_expression=gain, **{name: value}))
                assert torch.allclose(after - before, value * directions[index], atol=1e-5)
        after = moved(network, Controls.default(gain_expression=gain, turn=0.5, blink=-1.0))
        expected = 0.5 * directions[EDITS.index("turn")] - directions[EDITS.index("blink")]
        assert torch.allclose(after - before, expected.expand_as(after), atol=1e-5)


def test_sliders_at_nought_change_no_bit(network: Directed[Any, Any]) -> None:
    before = moved(network, Controls.default(relative=0.0))
    network.direct(1e6 * drawn_directions(network))
    assert torch.equal(moved(network, Controls.default(relative=0.0)), before)


def test_each_session_has_its_own(network: Directed[Any, Any]) -> None:
    directions = drawn_directions(network)
    network.direct(directions)
    code = torch.zeros(3, *network.code_shape)
    controls = Controls.default(3)._replace(smile=torch.tensor([1.0, 0.0, -0.5]))
    smile = directions[EDITS.index("smile")]
    assert torch.allclose(network.pushed(code, controls), torch.stack((smile, 0 * smile, -smile / 2)))


def test_only_a_network_with_directions_says_that_it_has_sliders(network: Directed[Any, Any]) -> None:
    before, spec = network.spec.controls, type(network).spec
    assert not set(EDITS) & set(before)
    for _ in range(2):
        network.direct(drawn_directions(network))
        assert network.spec.controls == (*before, *EDITS)
    network.direct(None)
    assert network.spec.controls == before
    assert type(network).spec is spec


def test_directions_go_with_the_weights(network: Directed[Any, Any], tmp_path: Path) -> None:
    """And weights without any are as good as ever."""
    make: Callable[[], Directed[Any, Any]] = Tiny if isinstance(network, Tiny) else rows
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    weights.save(network, old)
    directions = drawn_directions(network)
    network.direct(directions)
    weights.save(network, new)
    loaded = weights.load(new, make())
    assert isinstance(loaded, Directed)
    assert loaded.directions is not None
    assert torch.equal(loaded.directions, directions)
    assert loaded.spec.controls == network.spec.controls
    weights.load(old, loaded)
    assert loaded.directions is None
    assert "turn" not in loaded.spec.controls


def test_weights_of_other_directions_are_refused(tmp_path: Path) -> None:
    network, path = Tiny(), tmp_path / "odd.safetensors"
    network.directions = torch.zeros(len(EDITS), TOKEN + 1)
    weights.save(network, path)
    with pytest.raises(ValueError, match=r"odd\.safetensors: directions is 6×5 .*expects 6×4 float32"):
        weights.load(path)


def test_directions_that_do_not_fit_are_refused() -> None:
    network = Tiny()
    with pytest.raises(ValueError, match=r"directions are \(6, 5\); tiny needs \(6, 4\)"):
        network.direct(torch.zeros(6, 5))
    with pytest.raises(ValueError, match="NaN"):
        network.direct(torch.full((6, 4), torch.nan))
    assert network.directions is None


def test_half_precision_and_devices_follow_the_network() -> None:
    network = Tiny()
    network.direct(torch.ones(len(EDITS), TOKEN))
    code = network.half().pushed(torch.zeros(1, TOKEN), Controls.default(nod=0.5))
    assert code.dtype == torch.float32, "differences of codes are the motion"
    assert torch.equal(code, torch.full((1, TOKEN), 0.5))
