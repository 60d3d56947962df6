"""Networks and a judge whose answers are known: what the red of a picture is, is how somebody looks, and the
green is what he does."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from models import weights
from models.coefficients import CoefficientRegressor, Coefficients, save_coefficients
from models.latent import Latent, Layout
from models.stylegan2 import Generator
from trainer import evaluate
from trainer.evaluation import pages, record, report
from trainer.evaluation.transfer import (
    COARSE,
    PICTURES,
    SAMPLED,
    SHOWN,
    Company,
    Transfer,
    company,
    correlations,
    follow,
    partners,
    transfer,
)

SIDE, ROWS, STYLE = 32, 8, 16
LAYOUT = Layout(side=SIDE, seen=SIDE, style=STYLE, most=8, base=256, upright=False)
DOES, LOOKS = 0, 5  # the rows of a code that hold them: a coarse one, and another
NAMES = ("yaw", "pitch", "roll", "jawOpen", "mouthPucker", "eyeBlinkLeft", "eyeBlinkRight")
NAMES += tuple(f"brow_{number}" for number in range(STYLE - len(NAMES)))
PEOPLE = 4


def numbers(channel: Tensor) -> Tensor:
    """B×16: what 16 fields of a channel (B×S×S) are."""
    found: Tensor = nn.functional.adaptive_avg_pool2d(channel, 4)
    return found.flatten(1)


class Painter(nn.Module):
    """w → a picture that says what is in two of its rows."""

    def map(self, z: Tensor) -> Tensor:
        return z.sigmoid()

    def forward(self, w: Tensor) -> Tensor:
        fields = torch.stack((w[:, LOOKS], w[:, DOES], 0.5 * torch.ones_like(w[:, 0])), 1)
        picture: Tensor = nn.functional.interpolate(fields.unflatten(2, (4, 4)), (SIDE, SIDE))
        return 2 * picture - 1


class Known(Latent):
    """Encodes what the painter says, and splits and joins it without fault."""

    def __init__(self) -> None:
        super().__init__(layout=LAYOUT)
        self.generator = cast(Generator, Painter())

    def invert(self, picture: Tensor) -> Tensor:
        w = torch.zeros(len(picture), ROWS, STYLE)
        w[:, LOOKS], w[:, DOES] = numbers(picture[:, 0]), numbers(picture[:, 1])
        return w

    def split(self, w: Tensor) -> tuple[Tensor, Tensor]:
        row = torch.arange(ROWS).view(-1, 1)
        return w * (row != DOES), w * (row == DOES)

    def join(self, w_a: Tensor, w_s: Tensor) -> Tensor:
        return w_a + w_s


class Copying(Known):
    def split(self, w: Tensor) -> tuple[Tensor, Tensor]:
        return w, torch.zeros_like(w)


class Same(Known):
    """Draws one picture for everybody."""

    def join(self, w_a: Tensor, w_s: Tensor) -> Tensor:
        return torch.full_like(w_a, 0.5)


class Reader:
    """A face model that reads the fields."""

    appearance_names = tuple(f"shape_{number}" for number in range(STYLE))
    structure_names = NAMES

    def coefficients(self, image: Tensor) -> Coefficients:
        return Coefficients(numbers(image[:, 0]), numbers(image[:, 1]))


@pytest.fixture(scope="module")
def people() -> Company:
    """Who looks like nobody else and does what nobody else does, and does half as much of everything at
    rest."""
    dice = torch.Generator().manual_seed(0)
    looks = torch.rand(PEOPLE, 1, STYLE, generator=dice).expand(-1, PICTURES, -1)
    does = 0.4 + 0.2 * torch.rand(PEOPLE, PICTURES, STYLE, generator=dice)
    codes = torch.zeros(PEOPLE, PICTURES + 1, ROWS, STYLE)
    codes[:, :-1, LOOKS], codes[:, -1, LOOKS] = looks, looks[:, 0]
    codes[:, :-1, DOES], codes[:, -1, DOES] = does, 0.5
    shown = ((Painter()(codes.flatten(0, 1)) + 1) / 2).unflatten(0, codes.shape[:2])
    return Company(shown[:, :-1], shown[:, -1], tuple(f"person-{number}" for number in range(PEOPLE)))


@pytest.fixture(scope="module")
def known(people: Company) -> Transfer:
    return transfer(Known().eval(), people, Reader())


def test_who_joins_the_driver_s_structure_follows_it_wholly(known: Transfer) -> None:
    found = known.followed["result"]
    assert found.structure == pytest.approx(1)
    assert found.parts == pytest.approx({"pose": 1, "mouth": 1, "blink": 1})
    assert tuple(found.numbers) == NAMES
    assert (found.appearance.mean, found.appearance.n, found.appearance.groups) == (1, 40, PEOPLE)


def test_the_ends_are_the_source_and_the_driver(known: Transfer) -> None:
    copy, driver = known.followed["copy"], known.followed["driver"]
    assert copy.appearance.mean == 1
    assert copy.structure == pytest.approx(0, abs=0.15)
    assert driver.appearance.mean == 0
    assert driver.structure == pytest.approx(1)


def test_the_offset_trick_adds_what_the_driver_does_besides_resting(people: Company, known: Transfer) -> None:
    """By hand: looks of B cancel, and what A does stays: of two independent halves, each is 1/√2 of it."""
    does, rest = people.pictures[:, :, 1], people.rest[:, 1]
    source, driver = does[0, 0], does[1, 0]
    assert torch.allclose(known.shown["offset"][0, 1], source + driver - rest[1], atol=1e-6)
    assert torch.allclose(known.shown["offset"][0, 0], people.pictures[0, 0, 0], atol=1e-6)
    offset = known.followed["offset"]
    assert offset.structure == pytest.approx(math.sqrt(0.5), abs=0.1)
    assert offset.appearance.mean == 1


def test_coarse_rows_are_the_driver_s_and_others_the_source_s(known: Transfer) -> None:
    assert DOES < COARSE == known.rows <= LOOKS
    assert torch.equal(known.shown["coarse"], known.shown["result"])


def test_who_copies_is_told_of_as_the_copy(people: Company) -> None:
    found = transfer(Copying().eval(), people, Reader()).followed
    assert found["result"] == found["copy"]


def test_who_never_changes_follows_nobody(people: Company) -> None:
    found = transfer(Same().eval(), people, Reader())
    assert found.followed["result"].structure == 0
    assert found.followed["result"].appearance.mean == pytest.approx(0.5, abs=0.2)
    assert found.encoded.code.mean > 0.5


def test_nothing_is_lost_of_codes_that_are_whole_again(known: Transfer) -> None:
    for one in (known.sampled, known.encoded):
        assert (one.code.mean, one.psnr.mean) == (0, math.inf)
    assert (known.sampled.code.n, known.encoded.code.n) == (SAMPLED, 40)
    # Red and green are as they were, blue was a half before, too.
    assert known.inversion.l1.mean == pytest.approx(0, abs=1e-6)


def test_the_error_is_relative_to_the_distance_from_the_mean_code(people: Company) -> None:
    class Shrinking(Known):
        def join(self, w_a: Tensor, w_s: Tensor) -> Tensor:
            w = w_a + w_s
            return w + 0.1 * (self.latent_avg - w)

    network = Shrinking().eval()
    network.latent_avg.fill_(0.3)
    found = transfer(network, people)
    assert found.followed == {}
    assert found.encoded.code.mean == pytest.approx(0.1, rel=1e-5)
    assert found.sampled.code.mean == pytest.approx(0.1, rel=1e-5)


@pytest.mark.parametrize(("count", "each"), [(2, 3), (4, 10), (5, 3)])
def test_every_picture_drives_once_and_nobody_himself(count: int, each: int) -> None:
    found = partners(count, each)
    assert sorted(found.tolist()) == list(range(count * each))
    assert not bool((found // each == torch.arange(count * each) // each).any())


def test_correlations_by_hand() -> None:
    asked = torch.tensor([[0.0, 1.0, 2.0, 5.0], [1.0, 0.0, 2.0, 6.0], [2.0, 2.0, 2.0, 7.0]])
    said = torch.tensor([[3.0, 0.0, 1.0, 2.0], [2.0, 1.0, 2.0, 2.0], [1.0, 2.0, 3.0, 2.0]])
    assert correlations(said, asked) == [
        pytest.approx(-1),
        pytest.approx(0.5),
        None,  # nobody could follow what never changes
        0,
    ]


def test_numbers_that_a_judge_has_not_are_not_told_of(people: Company) -> None:
    class Blind(Reader):
        structure_names = tuple(f"exp_{number}" for number in range(STYLE))

    pictures = people.pictures.flatten(0, 1)
    found = follow(Blind(), pictures, pictures, pictures[partners(PEOPLE, PICTURES)], ["one"] * 40)
    assert found.parts == {"pose": None, "mouth": None, "blink": None}
    assert found.structure is not None


def test_figures_and_report(tmp_path: Path, known: Transfer) -> None:
    record.save(tmp_path / "metrics.json", {"format": record.FORMAT, **record.of_transfer(known)})
    document = record.load(tmp_path / "metrics.json")
    assert document["followed"]["result"]["parts"]["blink"] == pytest.approx(1)
    assert document["better_than"] == {"offset": False, "coarse": False}, "both keep all of the looks"
    assert document["reconstruction"]["sampled"]["psnr"]["mean"] == math.inf
    blocks = list(report._transfer(document))
    page = "\n\n".join(report._as_markdown(block) for block in blocks)
    assert "| f_D of both halves | 1.000 | 1.000 | 1.000 | 1.000 | 100.0% |" in page
    assert "| coarse rows swapped: the first 4 are the driver's | 1.000 |" in page
    assert "f_D of both halves: not better than the Offset Trick in both" in page
    assert "| jawOpen | 1.000 |" in page
    shown = pages.sheet(known)
    assert shown.shape[1] > SHOWN * 128


def test_better_is_better_in_both(known: Transfer) -> None:
    worse = known.followed["result"]._replace(structure=0.5)
    worse = worse._replace(appearance=worse.appearance._replace(mean=0.5))
    one = known._replace(followed=known.followed | {"offset": worse})
    assert record.of_transfer(one)["better_than"] == {"offset": True, "coarse": False}


def test_rendered_people_rest_in_their_own_scene() -> None:
    spec = Known().spec
    found = company(spec, people=2, size=48)
    assert found.pictures.shape == (2, PICTURES, 3, SIDE, SIDE)
    assert found.rest.shape == (2, 3, SIDE, SIDE)
    assert len(set(found.names)) == 2
    same, other = ((found.rest - found.rest.roll(by, 0))[0].abs().mean() for by in (0, 1))
    assert same == 0 < other
    # The corners show the background alone.
    behind = found.pictures[:, :, :, :3, :3].mean((1, 3, 4))
    near = (found.rest[:, :, :3, :3].mean((2, 3)) - behind).abs().mean()
    assert near < (behind[0] - behind[1]).abs().mean()
    with pytest.raises(ValueError, match="1 people to swap expressions with: at least 2"):
        company(spec, people=1)


def saved(folder: Path, make: Callable[[Path], None], name: str) -> str:
    make(folder / name)
    return str(folder / name)


def test_the_command_measures_a_latent(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = saved(
        tmp_path, lambda path: weights.save(weights.seeded("latent:tiny"), path), "latent.safetensors"
    )
    judge = CoefficientRegressor(("glasses", "age"), ("yaw", "jawOpen", "eyeBlinkLeft"))
    asked = ["--coefficients", saved(tmp_path, lambda path: save_coefficients(judge, path), "judge")]
    asked += [
        "--identities",
        "2",
        "--frames",
        "1",
        "--probes",
        "0",
        "--transfers",
        "2",
        "--landmarks",
        "none",
    ]
    assert evaluate.main(["--weights", network, "--output", str(tmp_path / "out"), *asked]) == 0
    found = record.load(tmp_path / "out" / "metrics.json")["transfer"]
    assert set(found["followed"]) == {"result", "offset", "coarse", "copy", "driver"}
    assert set(found["followed"]["result"]["numbers"]) == {"yaw", "jawOpen", "eyeBlinkLeft"}
    assert (tmp_path / "out" / found["pictures"][0]).exists()
    assert "the Offset Trick" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--coefficients", "judge.safetensors"], "coefficients: they judge transfers of latent"),
        (["--transfers", "1"], "transfers 1: expected at least 2 people, or 0"),
    ],
)
def test_what_can_t_be_judged_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: list[str], words: str
) -> None:
    try:
        code = evaluate.main(["--weights", "warp", "--output", str(tmp_path / "out"), *asked])
    except SystemExit as end:
        code = cast(int, end.code)
    assert code == 2
    assert words in capsys.readouterr().err
