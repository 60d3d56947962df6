"""Teaching a network what rendered people look like and do."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models.coefficients import load_coefficients
from models.latent import SIZES, crop
from trainer import coefficients as lessons
from trainer import prepare
from trainer.coefficients import APPEARANCE, STRUCTURE, Faces, correlations, faces_of, learn, names, report
from trainer.data.progress import Progress
from trainer.data.rendering import Rendering, render_clips

RULE = crop(SIZES["tiny"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("people") / "rendered"
    for _ in render_clips(Rendering(path, identities=24, frames=6, size=48, style="stills", workers=1)):
        pass
    return path


@pytest.fixture(scope="module")
def people(folder: Path) -> tuple[Faces, Faces]:
    return faces_of(folder, "train", 24, RULE), faces_of(folder, "test", 24, RULE)


def quiet(done: int, of: int) -> None:
    """Nobody waits."""


def test_numbers_are_the_clips_own(folder: Path, people: tuple[Faces, Faces]) -> None:
    learnt, held = people
    assert len(learnt.pictures) + len(held.pictures) == 24 * 6
    assert learnt.pictures.shape[1:] == (3, 80, 80)
    every = (*names(APPEARANCE), *names(STRUCTURE))
    assert len(every) == len(set(every)) == learnt.numbers.shape[1]
    clip = sorted(folder.rglob("truth.npz"))[0]
    with np.load(clip) as file:
        truth = {name: torch.from_numpy(file[name]) for name in ("rotation", "skin_tone", "shape", "gaze")}
    both = torch.cat([learnt.numbers, held.numbers])
    yaws = both[:, every.index("yaw")]
    rows = torch.cat([(yaws == yaw).nonzero()[0] for yaw in truth["rotation"][:, 0]])
    assert torch.equal(both[rows][:, [every.index(n) for n in ("yaw", "pitch", "roll")]], truth["rotation"])
    assert torch.equal(both[rows][:, every.index("skin_tone")], truth["skin_tone"].expand(6))
    assert torch.equal(both[rows][:, : truth["shape"].shape[1]], truth["shape"].expand(6, -1))
    assert torch.equal(both[rows][:, every.index("gaze_yaw")], truth["gaze"][:, 0])


def test_fewer_people_are_the_first_of_them(folder: Path, people: tuple[Faces, Faces]) -> None:
    fewer = [faces_of(folder, split, 16, RULE) for split in ("train", "test")]
    assert sum(len(faces.pictures) for faces in fewer) == 16 * 6
    for part, whole in zip(fewer, people, strict=True):
        assert torch.equal(part.numbers, whole.numbers[: len(part.numbers)])
    with pytest.raises(ValueError, match="has nobody to test among its first 1 people"):
        faces_of(folder, "test", 1, RULE)


def test_points_stay_on_the_face_when_it_is_jittered() -> None:
    """A white dot where the first landmark is."""
    random = torch.Generator().manual_seed(0)
    pictures = torch.zeros(16, 3, 80, 80, dtype=torch.uint8)
    pictures[:, :, 30:32, 50:52] = 255
    points = torch.tensor([51 / 80, 31 / 80]).expand(16, 68, 2)
    crops, moved = lessons._lesson(Faces(pictures, points, torch.zeros(16, 1)), torch.arange(16), random)
    assert crops.shape == (16, 3, 64, 64)
    assert float((moved[0, 0] - moved[1, 0]).norm()) > 0.003
    brightest = crops.mean(1).flatten(1).argmax(1)
    found = torch.stack((brightest % 64, brightest // 64), 1) + 0.5
    assert float((found - 64 * moved[:, 0]).norm(dim=1).max()) < 1.5


def test_tells_of_strangers_more_than_the_mean_does(people: tuple[Faces, Faces]) -> None:
    learnt, held = people
    found = learn(learnt, held, 50, 0, quiet)
    network = found.network
    assert not network.training
    assert {*network.appearance_names, *network.structure_names} >= lessons.ALWAYS
    assert found.correlation["yaw"] > 0.6
    for name, one in found.correlation.items():
        given = name in (*network.appearance_names, *network.structure_names)
        assert given == (one >= lessons.LEAST or name in lessons.ALWAYS)
    again = correlations(network, held)
    assert again["yaw"] == pytest.approx(found.correlation["yaw"], abs=1e-5)
    every = (*network.appearance_names, *network.structure_names)
    row = every.index("yaw")
    truth = held.numbers[:, (*names(APPEARANCE), *names(STRUCTURE)).index("yaw")]
    with torch.no_grad():
        said = network(lessons._middle(held.pictures))[0][:, row] * network.deviation[row] + network.mean[row]
    assert float((said - truth).square().mean()) < 0.8 * float((network.mean[row] - truth).square().mean())


def test_a_seed_is_a_network(people: tuple[Faces, Faces]) -> None:
    state = [
        learn(*people, 2, seed, quiet).network.fine[0][0].weight.flatten()  # type: ignore[index]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(state[0], state[1])
    assert not torch.allclose(state[0], state[2])


def test_correlation_is_known_of_what_is_known(people: tuple[Faces, Faces]) -> None:
    _, held = people
    found = learn(*people, 1, 0, quiet)
    with torch.no_grad():
        said = found.network(lessons._middle(held.pictures))[0]
    every = (*names(APPEARANCE), *names(STRUCTURE))
    given = (*found.network.appearance_names, *found.network.structure_names)
    truth = held.numbers.clone()
    truth[:, every.index("yaw")] = 3 - 2 * said[:, given.index("yaw")]
    truth[:, every.index("roll")] = 7
    known = correlations(found.network, held._replace(numbers=truth))
    assert known["yaw"] == pytest.approx(-1)
    assert known["roll"] == pytest.approx(0, abs=1e-6)


def test_the_command_writes_and_reports(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.safetensors"
    assert prepare.main(["coefficients", "--data", str(folder), "--output", str(path), "--steps", "2"]) == 0
    network = load_coefficients(path)
    said = capsys.readouterr().out.splitlines()
    every = len(names(APPEARANCE)), len(names(STRUCTURE))
    assert said[0].startswith(f"appearance: {len(network.appearance_names)} of {every[0]} numbers kept, ")
    assert said[3].startswith(f"structure: {len(network.structure_names)} of {every[1]} numbers kept, ")
    listed = re.findall(r"(\w+) -?\d\.\d\d(?:,|$)", " \n".join(one for one in said if one.startswith("  ")))
    assert len(listed) + sum("\n" in one for one in listed) >= sum(every) - 4
    assert said[-1] == str(path)


def test_people_are_rendered_where_there_are_none(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Rendering] = []

    def rendered(wanted: Rendering) -> list[Progress]:
        asked.append(wanted)
        shutil.copytree(folder, wanted.output)
        return []

    monkeypatch.setattr(lessons, "render_clips", rendered)
    path = tmp_path / "c.safetensors"
    lessons.prepare(lessons.CoefficientSettings(path, people=20, steps=1, seed=3), quiet)
    assert [(one.identities, one.seed, one.style) for one in asked] == [(20, 3, "stills")]
    assert not asked[0].output.exists()
    assert "yaw" in load_coefficients(path).structure_names


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ".*--output.*"),
        (["--output", "x", "--steps", "0"], "steps 0: expected at least 1"),
        (["--output", "x", "--people", "1"], "people 1: expected at least 2"),
        (["--output", "nowhere/x"], "output nowhere/x: there is no folder nowhere"),
        (["--output", "."], "output . is a folder; expected the name of a file"),
        (["--output", "x", "--data", "nowhere"], "nowhere is no prepared data set"),
    ],
)
def test_a_mistake_is_told_in_a_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = prepare.main(["coefficients", *arguments])
    except SystemExit as end:
        code = end.code
    assert code == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert re.fullmatch(f"python -m trainer.prepare coefficients: .*{said}.*\n", found.err)
    assert not Path("x").exists()


def test_lines_say_what_is_kept(people: tuple[Faces, Faces]) -> None:
    found = learn(*people, 1, 0, quiet)
    made_up = dict.fromkeys(found.correlation, 0.5)
    lines = list(report(found._replace(correlation=made_up)))
    assert re.search(r"held-out people 0\.50 \(0\.50 of all\)", lines[0])
    assert "skin_tone 0.50" in lines[1]
