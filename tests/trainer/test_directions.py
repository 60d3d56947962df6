"""Directions of sliders, found again where they are known."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor

from models import weights
from models.contract import EDITS, Controls, Observation
from models.describe import example
from models.directions import Directed
from realtime.exported import load
from tests.models.tiny import TOKEN, Tiny, TinyStructure
from trainer import directions
from trainer.data.dataset import ClipDataset
from trainer.data.rendering import Rendering, render_clips
from trainer.directions import DOES, find, fitted
from trainer.evaluation.probing import MOTIONS, motions_of
from trainer.export import main
from trainer.serving_picture import VALUES

K = len(EDITS)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("people") / "rendered"
    for _ in render_clips(Rendering(path, identities=12, frames=8, size=48, style="stills", workers=1)):
        pass
    return path


class Made(NamedTuple):
    """Codes that follow from numbers."""

    codes: Tensor
    numbers: Tensor
    clips: Tensor
    each: Tensor  # K×D: a code's change with one unit of each number


def made(noise: float = 0.0) -> Made:
    dice = torch.Generator().manual_seed(0)
    clips = torch.arange(40).repeat_interleave(25)
    scale = torch.tensor([20.0, 10.0, 8.0, 0.3, 0.4, 0.5])
    numbers = (torch.randn(1000, K, generator=dice) * scale).double()
    each = torch.randn(K, 2, 7, generator=dice) / scale.view(-1, 1, 1)
    person = 5 * torch.randn(40, 2, 7, generator=dice)[clips]
    moved = torch.einsum("nk,kij->nij", numbers.float(), each)
    return Made(person + moved + noise * torch.randn(moved.shape, generator=dice), numbers, clips, each)


def test_known_directions_are_found_again() -> None:
    """However much people differ from each other."""
    codes, numbers, clips, each = made()
    found = fitted(codes, numbers, clips)
    reach = (numbers - numbers.median(0).values).abs().quantile(0.975, 0)
    assert torch.allclose(found.directions, each * reach.float().view(-1, 1, 1), rtol=1e-3, atol=1e-4)
    assert found.share == pytest.approx(1, abs=1e-4)
    assert found.frames == 1000


def test_one_is_as_far_as_one_frame_in_forty_goes() -> None:
    codes, numbers, clips, _ = made()
    ends = fitted(codes, numbers, clips).directions.flatten(1) @ torch.linalg.pinv(made().each.flatten(1))
    for number in range(K):
        beyond = (numbers[:, number] - numbers[:, number].median()).abs() > ends[number, number]
        assert beyond.double().mean() == pytest.approx(1 / 40, abs=0.002)


def test_what_the_numbers_do_not_explain_is_told() -> None:
    codes, numbers, clips, each = made(noise=1.0)
    found = fitted(codes, numbers, clips)
    told = (torch.einsum("nk,kij->nij", numbers.float(), each)).var(0).sum()
    assert found.share == pytest.approx(float(told / (told + 14)), abs=0.05)
    assert str(found).startswith("directions: turn ")
    lengths = found.directions.flatten(1).norm(dim=1)
    assert torch.allclose(torch.tensor(found.strength), lengths / (told + 14).sqrt(), rtol=0.05)


def test_what_nobody_does_has_no_direction() -> None:
    codes, numbers, clips, _ = made()
    numbers[:, EDITS.index("smile")] = 0.3
    with pytest.raises(ValueError, match="nobody in these clips moves what smile is for"):
        fitted(codes, numbers, clips)


def test_two_that_always_move_together_share_what_they_do() -> None:
    codes, numbers, clips, _ = made()
    jaw, smile = EDITS.index("jaw"), EDITS.index("smile")
    numbers[:, smile] = numbers[:, jaw]
    found = fitted(codes, numbers, clips).directions
    assert torch.allclose(found[jaw], found[smile], rtol=1e-3, atol=1e-3)


class Knowing(Tiny):
    """Its code is what the frames' people do, times `EACH`."""

    def __init__(self, size: str = "narrow") -> None:
        super().__init__(size)
        self.told: list[Tensor] = []  # the numbers of the clips that it will be shown, in order

    def encode_structure(self, driving: Observation) -> TinyStructure:
        if not self.told:
            return super().encode_structure(driving)
        return TinyStructure((self.told.pop(0) @ EACH.double()).float())


EACH = torch.randn(K, TOKEN, generator=torch.Generator().manual_seed(1))


def numbers_of(data: Path) -> list[Tensor]:
    """Of all frames of the clips to train with, in order."""
    columns = [MOTIONS.index(DOES[name]) for name in EDITS]
    return [
        motions_of(clip.read(range(clip.entry.frames), False, (), ("rotation", "expression")))[:, columns]
        for clip in (ClipDataset(data, "train")[number] for number in range(len(ClipDataset(data, "train"))))
    ]


def test_clips_are_read_with_what_their_people_do(rendered: Path) -> None:
    network = Knowing().eval()
    network.told = numbers_of(rendered)
    every = torch.cat(network.told)
    found = find(network, rendered)
    assert network.told == []
    assert found.frames == len(every)
    reach = (every - every.median(0).values).abs().quantile(0.975, 0).float()
    assert torch.allclose(found.directions, EACH * reach[:, None], rtol=1e-3, atol=1e-3)
    assert found.share == pytest.approx(1, abs=1e-4)


def test_long_clips_are_gone_through_in_steps(rendered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directions, "FRAMES", 3)
    monkeypatch.setattr(directions, "CLIPS", 4)
    network = Knowing().eval()
    step = len(ClipDataset(rendered, "train")) // 4
    network.told = [one[[0, 4, 7]] for one in numbers_of(rendered)[::step][:4]]
    found = find(network, rendered)
    assert found.frames == 12
    assert found.share == pytest.approx(1, abs=1e-4)


@pytest.fixture(scope="module")
def folder(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("exported") / "model"
    asked = ["tiny", "--weights", "random", "--directions", str(rendered), "--output", str(output)]
    assert main(asked) == 0
    return output


def pictures() -> Sequence[Observation]:
    """A source, a driver and his rest."""
    every = example(Tiny.spec.driving)
    return example(Tiny.spec.source), every, every._replace(image=every.image.flip(3))


def test_an_export_has_sliders(folder: Path) -> None:
    """In ONNX Runtime as in torch."""
    served, network = load(folder), weights.load(folder / "weights.safetensors").eval()
    assert isinstance(network, Directed)
    assert network.directions is not None
    assert served.spec.controls == network.spec.controls == (*Tiny.spec.controls, *EDITS)
    source, driving, rest = pictures()
    moved = {}
    for value in (0.0, 0.8, -1.0):
        controls = Controls.default(turn=value, blink=-value)
        for which in (served, network):
            with torch.no_grad():
                appearance = which.encode_appearance([source])
                codes = (which.encode_structure(driving), which.neutral([which.encode_structure(rest)]))
                moved[which, value] = which.transfer(*codes, appearance, controls).token
        assert torch.allclose(moved[served, value], moved[network, value], atol=1e-5)
        pushed = moved[served, value] - moved[served, 0.0]
        turn, blink = (network.directions[EDITS.index(name)] for name in ("turn", "blink"))
        assert torch.allclose(pushed, value * (turn - blink), atol=1e-5)


def test_its_graph_takes_sliders(folder: Path) -> None:
    session = onnxruntime.InferenceSession(folder / "transfer.onnx", providers=["CPUExecutionProvider"])
    assert {f"controls.{name}" for name in EDITS} <= {one.name for one in session.get_inputs()}


def test_a_page_shows_what_sliders_do(folder: Path) -> None:
    page = np.asarray(Image.open(folder / "sliders.png"))
    assert page.shape[0] > K * 256
    assert page.shape[1] > len(VALUES) * 256
    assert page.std() > 1


def test_what_has_no_directions_is_refused(
    rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(model: str, data: Path) -> str:
        wanted = ["--directions", str(data), "--output", str(tmp_path / "new")]
        assert main([model, "--weights", "random", *wanted]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    assert "model landmark_gan has no directions: leave --directions out" in told("landmark_gan", rendered)
    assert str(tmp_path / "nowhere") in told("tiny", tmp_path / "nowhere")
    monkeypatch.setattr(directions, "LABELS", ("rotation", "humour"))
    assert "nobody knows what these people do" in told("tiny", rendered)
    assert not list(tmp_path.iterdir())
