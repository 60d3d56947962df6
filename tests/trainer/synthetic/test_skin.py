"""Skin, eyes and mouth as painted: tones, places, ranges, and that one thing doesn't move another."""

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.data.synthetic.face import LIP_RINGS
from trainer.data.synthetic.head import HEAD_SIDE, skin
from trainer.data.synthetic.skin import MONK, Skin, draw_sex, draw_skin, linear, monk_reflectance
from trainer.data.synthetic.skin_texture import paint

SIZE = 256
SIDE = int(SIZE * HEAD_SIDE)
CHEEKS = (50, 280, 101, 330, 36, 266)
HAIR = torch.tensor([[0.02, 0.013, 0.01]])


def painted(people: Skin) -> Tensor:
    atlas = torch.zeros(len(people.tone), 4, SIZE, SIZE)
    paint(people, HAIR.expand(len(people.tone), 3), atlas)
    return atlas


def plain(tones: list[float]) -> Skin:
    """People of given tones with nothing else on their skin."""
    bare = draw_skin(0, [0] * len(tones))
    zero = bare._replace(**{name: torch.zeros_like(value) for name, value in bare._asdict().items()})
    return zero._replace(
        tone=torch.tensor(tones),
        brow=bare.brow,
        iris=bare.iris,
        eye=bare.eye,
        lashes=bare.lashes,
        grain=bare.grain,
    )


def near(atlas: Tensor, landmarks: tuple[int, ...], reach: int = 1) -> Tensor:
    """Mean colour about landmarks: B×3."""
    found = []
    for u, v in skin().uv[list(landmarks)] * SIZE:
        row, column = int(v), int(u)
        found.append(
            atlas[:, :3, row - reach : row + reach + 1, column - reach : column + reach + 1].mean((2, 3))
        )
    return torch.stack(found).mean(0)


def lab(colour: Tensor) -> Tensor:
    """CIE L*a*b* (D65) of linear sRGB: …×3."""
    matrix = torch.tensor(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], dtype=colour.dtype
    )
    xyz = colour @ matrix.T / torch.tensor([0.9505, 1.0, 1.089], dtype=colour.dtype)
    f = torch.where(xyz > 0.008856, xyz.clamp(min=1e-9) ** (1 / 3), 7.787 * xyz + 16 / 116)
    return torch.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1
    )


def test_cheeks_have_the_published_tone_of_each_level() -> None:
    codes = np.array([[code >> 16, code >> 8 & 255, code & 255] for code in MONK]) / 255
    published = lab(linear(torch.from_numpy(codes)))
    found = lab(near(painted(plain([float(level) for level in range(1, 11)])), CHEEKS).double())
    assert (found - published).norm(dim=1).max() < 6


def test_tones_between_levels_lie_between() -> None:
    low, middle, high = monk_reflectance(torch.tensor([5.0, 5.5, 6.0]))
    assert torch.allclose(middle, (low + high) / 2)


def test_every_ten_identities_have_the_ten_levels() -> None:
    tones = draw_skin(3, range(200)).tone
    for group in tones.view(20, 10):
        assert group.round().sort().values.tolist() == list(range(1, 11))


def test_a_person_is_the_same_alone_and_among_others() -> None:
    alone, among = draw_skin(5, [17]), draw_skin(5, [2, 17, 40])
    for one, many in zip(alone, among, strict=True):
        assert torch.equal(one[0], many[1])
    assert torch.allclose(painted(alone)[0], painted(among)[1], atol=1e-5)
    assert torch.equal(draw_sex(5, [17])[0], draw_sex(5, [2, 17, 40])[1])


def test_another_seed_is_another_person() -> None:
    assert not torch.equal(draw_skin(0, [1]).grain, draw_skin(1, [1]).grain)


@pytest.mark.parametrize("name", ["iris", "eye", "teeth", "lips", "lashes", "brow", "lipstick", "shadow"])
def test_what_is_elsewhere_leaves_the_cheeks_alone(name: str) -> None:
    people = plain([4.0])
    other = people._replace(**{name: getattr(people, name) + 0.5})
    assert torch.equal(near(painted(people), CHEEKS), near(painted(other), CHEEKS))
    assert not torch.equal(painted(people), painted(other))


def test_blush_reddens_cheeks_less_on_dark_skin() -> None:
    pale, dark = plain([2.0, 9.0]), plain([2.0, 9.0])._replace(blush=torch.ones(2))
    ratio = near(painted(dark), CHEEKS) / near(painted(pale), CHEEKS)
    assert (ratio[:, 1] < ratio[:, 0]).all()
    assert ratio[0, 1] < ratio[1, 1] < 1


def test_brows_lie_where_their_landmarks_are() -> None:
    people = plain([3.0])
    people = people._replace(brow=torch.tensor([[0.8, 0.0, 0.0, 0.0, 1.0, 0.8]]))
    atlas = painted(people)
    forehead = near(atlas, (69, 299, 104, 333)).mean()
    uv = skin().uv
    for above, below in (((66, 105, 63), (65, 52, 53)), ((296, 334, 293), (295, 282, 283))):
        for upper, lower in zip(above, below, strict=True):
            u, v = (uv[upper] + uv[lower]) / 2 * SIZE
            assert atlas[0, :3, int(v), int(u)].mean() < 0.55 * forehead


def test_lipstick_stays_within_the_lips() -> None:
    people = plain([3.0])
    worn = people._replace(lipstick=torch.tensor([[0.5, 0.0, 0.0, 1.0]]))
    changed = (painted(people) - painted(worn)).abs().amax((0, 1))[:SIDE, :SIDE] > 0.02
    v, u = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIZE
    at = np.stack([u, v], -1)
    outline, inner = (skin().uv[list(ring)] for ring in (LIP_RINGS[0], LIP_RINGS[3]))
    low, high = outline.min(0) - 2 / SIZE, outline.max(0) + 2 / SIZE
    beyond = ((at < low) | (at > high)).any(-1)
    assert not changed[torch.from_numpy(beyond)].any()
    rows, columns = (torch.from_numpy(((outline + inner) / 2 * SIZE).astype(int))).T[[1, 0]]
    assert changed[rows, columns].float().mean() > 0.9


def test_nostrils_and_lashes_are_darker_than_skin() -> None:
    atlas = painted(plain([3.0]))
    cheek = near(atlas, CHEEKS).mean()
    assert near(atlas, (60, 290, 20, 250), 0).mean() < 0.35 * cheek
    assert near(atlas, (159, 386, 158, 385), 0).mean() < 0.6 * cheek


def test_pupil_iris_and_white() -> None:
    side = SIZE // 4
    row = painted(plain([3.0]))[0, :3, SIZE - side // 2, :side].mean(0)
    middle = side // 2
    assert row[middle] < 0.01
    assert row[4] > 0.3
    iris = row[middle + round(21 / 100 * middle)]
    assert 0.005 < iris < row[middle + round(40 / 100 * middle)]


def test_teeth_between_gums_with_a_tongue_and_the_dark_below() -> None:
    side = SIZE // 4
    mouth = painted(plain([3.0]))[0, :3, SIZE - side :, side : 2 * side]
    tooth = mouth[:, int(0.33 * side) - 2, side // 2 + 3]
    gum, tongue, dark = mouth[:, 1, side // 2], mouth[:, int(0.7 * side), side // 4], mouth[:, -1].mean(1)
    assert tooth.mean() > 2 * gum.mean()
    assert gum[0] > 2 * gum[1]
    assert tongue[0] > 2 * tongue[1]
    assert dark.max() < 0.05


def test_only_its_rectangles_are_painted_and_values_are_in_range() -> None:
    people = draw_skin(1, range(6))
    atlas = torch.full((6, 4, SIZE, SIZE), -1.0)
    paint(people, HAIR.expand(6, 3), atlas)
    kept = atlas == -1
    expected = torch.ones(SIZE, SIZE, dtype=torch.bool)
    expected[:SIDE, :SIDE] = False
    expected[SIDE:, : SIZE // 2] = False
    expected[SIDE : SIDE + SIZE // 8, SIZE // 2 : SIDE] = False
    assert torch.equal(kept, expected.expand_as(kept))
    assert atlas[~kept].min() >= 0
    assert atlas[~kept].max() <= 1
    lashes = atlas[:, 3, SIDE : SIDE + SIZE // 8, SIZE // 2 : SIDE]
    assert (lashes[:, -2].amax(1) > 0.8).all()
    assert (lashes[:, 0].mean(1) < lashes[:, -2].mean(1)).all()


def test_beards_are_men_s_and_lines_come_with_age() -> None:
    people, sex = draw_skin(2, range(300)), draw_sex(2, range(300))
    assert not people.beard[sex <= 0.5].any()
    assert (people.beard[sex > 0.5].amax(1) > 0.2).float().mean() > 0.3
    old = people.age > 55
    assert people.lines[old].mean() > 2 * people.lines[people.age < 30].mean()
    assert (
        people.freckles[people.tone < 4].gt(0).float().mean()
        > people.freckles[people.tone > 7].gt(0).float().mean()
    )
