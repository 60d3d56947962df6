import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.identity_embedder import IdentityEmbedder
from tests.material import shared_folder
from trainer.data.realism.check import PARTS, CheckSettings, check
from trainer.data.realism.renders import Order, draw, orders_of, portrait, turned
from trainer.data.realism.sheet import EXPRESSIONS, POSES, SheetSettings, draw_sheet, laid_out, moves
from trainer.data.realism.speed import Clip, pictures_a_second
from trainer.data.synthetic.anatomy import AT
from trainer.evaluation.landmarks import Regressor, regressor_of
from trainer.metrics.availability import load_csim_embedder
from trainer.prepare import main


def test_chosen_parts_are_measured_and_written(tmp_path: Path) -> None:
    asked = CheckSettings(only=("tones",), quick=True, output=tmp_path / "out", workers=0)
    found = list(check(asked))
    assert [one.part for one in found[0].readings] == ["tones"] * 10
    told = json.loads((tmp_path / "out" / "check.json").read_text())
    assert told["settings"]["seed"] == 0
    assert len(told["readings"]) == 10
    assert "everything runs" in (tmp_path / "out" / "check.md").read_text()


def test_the_judges_that_were_trained_are_kept(tmp_path: Path) -> None:
    list(check(CheckSettings(only=("regressor", "embedder"), quick=True, output=tmp_path, workers=0)))
    assert isinstance(regressor_of(tmp_path / "regressor.safetensors"), Regressor)
    assert isinstance(load_csim_embedder(tmp_path / "embedder.safetensors"), IdentityEmbedder)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "--media", "nowhere"], "nowhere has no folder portraits"),
        (["check", "--only", "beauty"], "beauty"),
        (["sheet", "--output", "page.doc"], "page.doc is no picture's name"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as end:
        code = int(str(end.code))
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2
    assert len(lines) == 1
    assert said in lines[0]


def test_a_page_of_people(tmp_path: Path) -> None:
    path = draw_sheet(SheetSettings(output=tmp_path / "a" / "page.png", people=1, size=32, workers=0))
    page = np.array(Image.open(path))
    count = len(EXPRESSIONS) + len(POSES)
    assert page.shape[1] > count * 32
    assert page.std() > 20


def test_pictures_lie_in_their_rows_and_columns() -> None:
    rows = [np.full((2, 16, 16, 3), 10 * row, np.uint8) for row in (1, 2)]
    rows[1][1] = (0, 200, 0)
    page = laid_out(rows, ["a", "b"], ["1", "2"])
    places = np.argwhere((page == (0, 200, 0)).all(2))
    assert len(places) == 16 * 16
    first = np.argwhere((page == 10).all(2))
    assert places[:, 0].min() > first[:, 0].max()
    assert places[:, 1].max() == first[:, 1].max()


def test_columns_of_the_page_do_what_is_written_above_them() -> None:
    motion = moves(0, range(len(EXPRESSIONS) + len(POSES)))
    active = (motion.expression > 0).sum(1).tolist()
    assert active[0] == 0
    assert all(number > 0 for number in active[1 : len(EXPRESSIONS)])
    assert active[len(EXPRESSIONS) :] == [0] * len(POSES)
    assert motion.rotation[len(EXPRESSIONS) :].tolist() == [list(map(float, one)) for one in POSES.values()]


def test_who_and_where_are_drawn_apart() -> None:
    """Another scene moves no landmark; another person does."""
    order = Order(0, (1, 1, 2), (5, 6, 5), (9, 9, 9), turned, 32)
    shots = draw(order)
    assert np.array_equal(shots.points[0], shots.points[1])
    assert not np.array_equal(shots.picture[0], shots.picture[1])
    assert not np.allclose(shots.points[0], shots.points[2], atol=1e-3)
    assert shots.person.tolist() == [1, 1, 2]


def test_portraits_look_about_into_the_camera_and_many_of_them_smile() -> None:
    motion = portrait(0, range(60))
    assert (motion.rotation.abs() <= torch.tensor([20.0, 12, 12])).all()
    smile, jaw = motion.expression[:, AT["mouthSmileLeft"]], motion.expression[:, AT["jawOpen"]]
    assert 0.2 < (smile > 0).float().mean() < 0.6
    assert 0.3 < (jaw > 0).float().mean() < 0.7
    assert jaw.max() <= 0.4


def test_orders_differ_in_scene_and_motion() -> None:
    first, second = orders_of([0, 1], 4, turned, 32, seed=0)
    other = orders_of([0], 4, turned, 32, seed=0, stream=1)[0]
    numbers = [*first.moves, *second.moves, *other.moves]
    assert len(set(numbers)) == 12
    assert first.people == (0, 0, 0, 0)


def test_speed_is_pictures_over_the_time_they_took() -> None:
    """The first clip only warms up."""
    times = iter([0.0, 9.0, 10.0, 12.0])
    assert pictures_a_second([Clip(0, 0, 1, ())] * 3, 0, lambda: next(times)) == 1.5


@pytest.mark.slow
def test_the_whole_check_runs(tmp_path: Path) -> None:
    """All parts in tiny numbers: their figures say nothing, but each is there."""
    media = shared_folder("media")
    parts = {one.part for found in check(CheckSettings(quick=True, media=media)) for one in found.readings}
    assert parts == set(PARTS)
