import numpy as np
import pytest
import torch

from tests.trainer.synthetic.rays import furthest
from trainer.data.synthetic.cloth_texture import paint_clothes
from trainer.data.synthetic.clothes import (
    CHEST,
    KINDS,
    PATTERNS,
    clothes_displacement,
    clothes_parts,
    clothes_shown,
    draw_clothes,
    torso,
)
from trainer.data.synthetic.face import mean_landmarks
from trainer.data.synthetic.glasses import (
    LENS,
    STYLES,
    draw_glasses,
    glasses_displacement,
    glasses_parts,
    glasses_shown,
    paint_glasses,
)
from trainer.data.synthetic.head import skin
from trainer.data.synthetic.parts import CLOTH, GLASSES, window


def test_glasses_are_worn_by_a_third() -> None:
    glasses = draw_glasses(0, torch.arange(1000))
    assert 0.25 < glasses.worn.float().mean() < 0.35
    assert torch.equal(glasses_shown(glasses).all(1), glasses.worn)
    assert torch.equal(glasses_shown(glasses).any(1), glasses.worn)
    assert set(glasses.style.tolist()) == set(range(len(STYLES)))
    assert 0.05 < (glasses.dark > 0.5).float().mean() < 0.15  # sunglasses


def test_the_same_people_wear_the_same() -> None:
    many, one = torch.arange(9), torch.tensor([5])
    pairs = [
        (draw_glasses(3, many), draw_glasses(3, one)),
        (draw_clothes(3, many, torch.full((9,), 0.5)), draw_clothes(3, one, torch.tensor([0.5]))),
    ]
    for batch, alone in pairs:
        for ours, theirs in zip(batch, alone, strict=True):
            assert torch.equal(ours[5:6], theirs)


def test_glasses_stand_before_nose_and_eyes() -> None:
    glasses = draw_glasses(0, torch.arange(60))
    points = np.concatenate([piece.mesh.points for piece in glasses_parts()])
    found = points + glasses_displacement(glasses).double().numpy()
    before = sum(len(piece.mesh.points) for piece in glasses_parts()[:5])  # rims, lenses and bridge
    front = found[:, :before].reshape(-1, 3)[::11]
    from_ahead = front * (1, 1, 0) + (0, 0, 40.0)
    depth = 40 - furthest(skin(), from_ahead, np.broadcast_to([0.0, 0, -1], front.shape))  # the nearest skin
    assert (np.isnan(depth) | (front[:, 2] < depth - 0.02)).all()
    pupils = mean_landmarks()[[468, 473]]
    lenses = found[:, before - 30 - 50 : before - 30].reshape(60, 2, 25, 3)
    for side, pupil in ((0, pupils[pupils[:, 0].argmax()]), (1, pupils[pupils[:, 0].argmin()])):
        gap = pupil[2] - lenses[:, side, :, 2].mean(1)
        assert (gap > 1).all()
        assert (gap < 4).all()
        inside = (lenses[:, side].min(1)[:, :2] < pupil[:2]) & (lenses[:, side].max(1)[:, :2] > pupil[:2])
        assert inside.all()


def test_temples_go_along_the_head() -> None:
    glasses = draw_glasses(0, torch.arange(40))
    points = np.concatenate([piece.mesh.points for piece in glasses_parts()])
    found = points + glasses_displacement(glasses).double().numpy()
    temples = found[:, -70:].reshape(-1, 3)[::3]
    temples = temples[temples[:, 2] < 1.0]  # behind, the ear hides them
    origins = temples * (0, 1, 1)
    width = furthest(skin(), origins, np.sign(temples) * (1, 0, 0))
    assert (np.isnan(width) | (np.abs(temples[:, 0]) > width)).all()


def test_lenses_let_the_eyes_be_seen() -> None:
    glasses = draw_glasses(0, torch.arange(200))
    atlas = torch.full((200, 4, 256, 256), -1.0)
    paint_glasses(glasses, atlas)
    target = window(atlas, GLASSES)
    assert (target >= 0).all()
    assert (target <= 1).all()
    rest = atlas.clone()
    window(rest, GLASSES)[:] = -1
    assert (rest == -1).all()
    height = target.shape[2]
    assert (target[:, 3, : height // 5] == 1).all()  # frames
    lenses = target[:, 3, round(height * (1 - LENS)) + 1 :].mean((1, 2))
    clear = glasses.dark < 0.5
    assert lenses[clear].max() < 0.35
    assert lenses[~clear].min() > 0.45


def test_clothes_of_every_kind_are_drawn() -> None:
    indices = torch.arange(600)
    clothes = draw_clothes(0, indices, indices % 2 * 1.0)
    assert set(clothes.kind.tolist()) == set(range(len(KINDS)))
    assert set(clothes.pattern.tolist()) == set(range(len(PATTERNS)))
    shell = len(clothes_parts()[0].mesh.triangles)
    shown = clothes_shown(clothes)
    assert shown[:, :shell].all()
    collars = [KINDS.index(kind) for kind in ("shirt", "hoodie", "turtleneck", "suit")]
    expected = torch.isin(clothes.kind, torch.tensor(collars))
    assert torch.equal(shown[:, shell:].any(1), expected)


def test_cloth_lies_outside_the_chest() -> None:
    indices = torch.arange(60)
    clothes = draw_clothes(0, indices, indices % 2 * 1.0)
    shell = clothes_parts()[0].mesh
    moved = clothes_displacement(clothes)[:, : len(shell.points)].double().numpy() + shell.points
    rows = torso()
    middle = (rows.max(1) + rows.min(1)) / 2
    skin_reach = np.linalg.norm((rows - middle[:, None])[..., [0, 2]], axis=2)
    reach = np.linalg.norm((moved.reshape(60, *rows.shape) - middle[:, None])[..., [0, 2]], axis=3)
    assert (reach - skin_reach).min() > 0.3
    assert (reach - skin_reach).max() < 2.5


def test_template_cloth_faces_outwards() -> None:
    shell = clothes_parts()[0].mesh
    a, b, c = (shell.points[shell.triangles[:, corner]] for corner in range(3))
    area = np.cross(c - a, b - a)
    out = ((a + b + c) / 3 - (0, 0, 4.4)) * (1, 0, 1) + (0, -2.0, 0)  # away from the axis, up on shoulders
    assert ((area * out).sum(1) > 0).all()


def test_necklines() -> None:
    indices = torch.arange(400)
    clothes = draw_clothes(0, indices, indices % 2 * 1.0)
    atlas = torch.full((400, 4, 128, 128), -1.0)
    paint_clothes(clothes, atlas)
    target = window(atlas, CLOTH)
    assert (target >= 0).all()
    assert (target <= 1).all()
    rest = atlas.clone()
    window(rest, CLOTH)[:] = -1
    assert (rest == -1).all()
    chest = target[:, 3, : round(target.shape[2] * CHEST)]
    front = chest[:, :, chest.shape[2] // 2]  # down the middle
    bare = {kind: (1 - front[clothes.kind == at].mean()).item() for at, kind in enumerate(KINDS)}
    assert bare["turtleneck"] < bare["crew"] < bare["scoop"] < bare["off-shoulder"]
    assert bare["crew"] < bare["v-neck"]
    assert (front[:, -4:] == 1).all()


@pytest.mark.parametrize("pattern", ["plain", "stripes across", "stripes along", "checks"])
def test_patterns(pattern: str) -> None:
    clothes = draw_clothes(0, torch.tensor([1]), torch.tensor([0.0]))
    black, white = torch.full((1, 3), 0.05), torch.full((1, 3), 0.8)
    clothes = clothes._replace(
        kind=torch.tensor([0]),
        pattern=torch.tensor([PATTERNS.index(pattern)]),
        colour=black,
        second=white,
        scale=torch.tensor([4.0]),
    )
    atlas = torch.zeros(1, 4, 512, 512)
    paint_clothes(clothes, atlas)
    chest = window(atlas, CLOTH)[0, 0, 50:90, 20:108]
    light = (chest > 0.4).float()
    down, across = light.mean(1).std(), light.mean(0).std()
    if pattern == "plain":
        assert not light.any()
    elif pattern == "stripes across":
        assert down > 5 * across
    elif pattern == "stripes along":
        assert across > 2 * down
    else:
        assert 0.05 < light.mean() < 0.95
