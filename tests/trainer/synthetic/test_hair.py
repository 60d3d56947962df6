import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.synthetic.rays import furthest
from trainer.data.synthetic.beard import (
    beard_displacement,
    beard_parts,
    beard_shown,
    draw_beard,
    paint_beard,
    paint_beard_roots,
)
from trainer.data.synthetic.clothes import clothes_parts
from trainer.data.synthetic.face import mean_landmarks
from trainer.data.synthetic.glasses import glasses_parts
from trainer.data.synthetic.hair import STYLES, Hair, draw_hair, hair_colour
from trainer.data.synthetic.hair_shell import (
    ROWS,
    columns,
    hair_backs,
    hair_displacement,
    hair_parts,
    hair_shown,
)
from trainer.data.synthetic.hair_texture import paint_hair, paint_scalp
from trainer.data.synthetic.head import SKULL_CENTRE, skin
from trainer.data.synthetic.mesh import Array, Mesh, subdivide
from trainer.data.synthetic.parts import BEARD, HAIR, HEAD, window
from trainer.data.synthetic.scalp import direction, radius


def drawn(count: int, seed: int = 0) -> Hair:
    indices = torch.arange(count)
    return draw_hair(seed, indices, indices % 2 * 1.0, 16 + indices % 7 * 10.0)


def leaves(hair: Hair) -> list[Tensor]:
    return [hair.style, *hair.shape, hair.colour, hair.tips, hair.contrast, hair.grain, *hair.beard]


@pytest.fixture(scope="module")
def many() -> Hair:
    return drawn(500)


def one_of_each(hair: Hair) -> Hair:
    """The first of each style."""
    rows = torch.tensor([int((hair.style == style).nonzero()[0]) for style in range(len(STYLES))])
    return rows_of(hair, rows)


def rows_of(hair: Hair, rows: Tensor) -> Hair:
    shape = type(hair.shape)(*(value[rows] for value in hair.shape))
    beard = type(hair.beard)(*(value[rows] for value in hair.beard))
    return Hair(hair.style[rows], shape, *(value[rows] for value in hair[2:6]), beard)


def refined() -> Mesh:
    mesh = skin()
    triangles, refinement = subdivide(mesh.triangles, len(mesh.points))
    return Mesh(refinement.of(mesh.points), triangles, np.zeros((0, 2)))


def placed(hair: Hair) -> Array:
    points = np.concatenate([piece.mesh.points for piece in hair_parts()])
    return np.asarray(points + hair_displacement(hair).double().numpy())


def test_everybody_has_the_same_few_triangles() -> None:
    parts = (*hair_parts(), *beard_parts(), *glasses_parts(), *clothes_parts())
    assert sum(len(piece.mesh.triangles) for piece in parts) <= 4600
    for piece in parts:
        count = len(piece.mesh.points)
        assert piece.mesh.uv.shape == (count, 2)
        assert piece.follows.shape == (count,)
        assert set(piece.mesh.triangles.ravel()) == set(range(count))


def test_every_style_is_drawn(many: Hair) -> None:
    assert set(many.style.tolist()) == set(range(len(STYLES)))


def test_women_and_men_wear_their_hair_unalike(many: Hair) -> None:
    bob, thinning = STYLES.index("bob"), STYLES.index("thinning")
    assert (many.style[::2] == bob).sum() > 3 * (many.style[1::2] == bob).sum()
    assert not (many.style[::2] == thinning).any()


def test_an_identity_has_its_hair_in_any_batch() -> None:
    batch = drawn(20)
    alone = draw_hair(0, torch.tensor([7]), torch.tensor([1.0]), torch.tensor([0.0]))
    for ours, theirs in zip(leaves(rows_of(batch, torch.tensor([7]))), leaves(alone), strict=True):
        assert torch.equal(ours, theirs)
    other = draw_hair(1, torch.tensor([7]), torch.tensor([1.0]), torch.tensor([0.0]))
    assert not torch.equal(alone.grain, other.grain)


def test_colours_are_reflectances_and_those_of_the_brows(many: Hair) -> None:
    assert hair_colour(many) is many.colour
    for colour in (many.colour, many.tips):
        assert colour.min() > 0
        assert colour.max() < 1
    light = many.colour.mean(1)
    assert (light < 0.03).float().mean() > 0.2  # from many dark heads
    assert (light > 0.2).float().mean() > 0.08  # to a few light ones


def test_hair_turns_grey_with_age() -> None:
    indices = torch.arange(300)
    sex, young = torch.full((300,), 0.5), torch.full((300,), 16.0)
    dull = []  # whether a head is lighter than dark brown and has little colour
    for age in (young, young + 32, young + 64):
        hair = draw_hair(0, indices, sex, age)
        colour = hair.colour
        assert torch.equal(hair.style, draw_hair(0, indices, sex, young).style)
        dull.append(((colour.amax(1) < 1.6 * colour.amin(1)) & (colour.mean(1) > 0.08)).float().mean())
    assert dull[0] < 0.12
    assert dull[0] + 0.1 < dull[1] < dull[2] - 0.1
    assert dull[2] > 0.5


def test_the_bald_and_the_shorn_have_no_shell(many: Hair) -> None:
    shown = hair_shown(many)
    count = sum(len(piece.mesh.triangles) for piece in hair_parts())
    assert shown.shape == (500, count)
    assert torch.equal(shown.any(1), many.style > 1)


def test_only_buns_and_ponytails_hang_behind(many: Hair) -> None:
    tail = len(hair_parts()[2].mesh.triangles)
    has = (many.style == STYLES.index("bun")) | (many.style == STYLES.index("ponytail"))
    assert torch.equal(hair_shown(many)[:, -tail:].any(1), has)


def test_only_under_hanging_hair_its_backs_are_seen(many: Hair) -> None:
    sheets = 4 * (ROWS - 1) * (len(columns()) - 1)
    backs = hair_backs(many)[:, :sheets].float()
    hanging = many.shape.drop < 150
    assert (backs[~hanging & (many.shape.drop > 185)] == 0).all()
    assert (backs[hanging & (many.style > 1)].mean(1) > 0.1).all()
    assert backs.max(1).values.sum() < len(backs)


def test_the_table_of_radii_is_the_skin() -> None:
    azimuth = torch.tensor([0.0, 40, 95, 150, -60])
    elevation = torch.tensor([40.0, 20, 10, 0, 75])
    rays = direction(azimuth, elevation)
    expected = furthest(refined(), SKULL_CENTRE, rays.double().numpy())
    assert radius(rays).numpy() == pytest.approx(expected, abs=0.05)


def test_shells_lie_outside_the_skin(many: Hair) -> None:
    each = one_of_each(many)
    points = placed(each)[2:, : 2 * ROWS * len(columns())]
    mesh = refined()
    out = (points - SKULL_CENTRE).reshape(-1, 3)
    out = out[::7]  # a sample, all styles and rows among it: 7 divides neither
    length = np.linalg.norm(out, axis=1)
    reach = furthest(mesh, SKULL_CENTRE, out / length[:, None])
    assert (np.isnan(reach) | (length > reach - 0.01)).all()


def test_short_hair_begins_flat_on_the_scalp(many: Hair) -> None:
    short = (many.shape.drop > 150) & (many.shape.ring == 0) & (many.shape.fringe <= 0) & (many.style > 1)
    points = placed(many)[short][:, : 2 * ROWS * len(columns())].reshape(-1, 2, ROWS, len(columns()), 3)
    out = torch.tensor(points[:, :, -1] - SKULL_CENTRE, dtype=torch.float32)
    length = out.norm(dim=-1)
    assert (length - radius(out / length[..., None])).max() < 0.1


def test_the_sides_of_a_head_show_other_strands() -> None:
    for piece in hair_parts()[:2]:
        u = piece.mesh.uv[:, 0].reshape(ROWS, -1)
        assert np.abs(u - u[:, ::-1]).mean() > 0.2 * np.ptp(u)


def test_template_shells_face_outwards() -> None:
    for piece in hair_parts()[:2]:
        a, b, c = (piece.mesh.points[piece.mesh.triangles[:, corner]] for corner in range(3))
        area = np.cross(c - a, b - a)
        outwards = (area * (a + b + c - 3 * SKULL_CENTRE)).sum(1) / np.linalg.norm(area, axis=1).clip(1e-9)
        assert (outwards[np.linalg.norm(area, axis=1) > 1e-4] > 0).all()


def test_long_hair_is_as_long_as_it_was_drawn(many: Hair) -> None:
    points = placed(many)[:, : ROWS * len(columns())]
    hanging = (many.shape.drop < 150) & (many.style > 1)
    assert points[hanging, :, 1].max(1) == pytest.approx(many.shape.fall[hanging].numpy(), abs=1.8)


def test_before_the_shoulders_or_behind() -> None:
    hair = rows_of(drawn(2), torch.tensor([0, 0]))
    shape = hair.shape._replace(
        drop=torch.tensor([60.0, 60]), fall=torch.tensor([30.0, 30]), front=torch.tensor([1.0, -1])
    )
    points = placed(hair._replace(shape=shape))[:, : ROWS * len(columns())]
    beside = (columns().abs() - 84).abs() < 1
    low = points.reshape(2, ROWS, -1, 3)[:, -1, beside]
    assert (low[0, :, 2] < -2).all()
    assert (low[1, :, 2] > 10).all()


def test_strands_fill_their_rectangle_and_nothing_else() -> None:
    hair = drawn(12)
    atlas = torch.full((12, 4, 256, 256), -1.0)
    paint_hair(hair, atlas)
    inside = torch.zeros(256, 256, dtype=torch.bool)
    window(inside[None, None], HAIR)[:] = True
    assert (atlas[:, :, ~inside] == -1).all()
    assert atlas[:, :, inside].min() >= 0
    assert atlas[:, :, inside].max() <= 1
    cover = window(atlas, HAIR)[:, 3]
    dense, loose = cover.chunk(2, 2)
    assert (dense[:, 40:90].mean((1, 2)) > 0.99).all()
    assert (loose[:, 40:90].mean((1, 2)) < 0.95).all()
    assert (dense[:, -2:].mean((1, 2)) < 0.5).all()  # tips


def test_strands_have_their_colour() -> None:
    hair = drawn(12)
    straight = hair._replace(tips=hair.colour)
    atlas = torch.zeros(12, 4, 256, 256)
    paint_hair(straight, atlas)
    mean = window(atlas, HAIR)[:, :3].mean((2, 3))
    ratio = mean / hair.colour
    assert ratio.min() > 0.5
    assert ratio.max() < 1.9
    hue = ratio / ratio.mean(1, keepdim=True)
    assert (hue - 1).abs().max() < 0.06


def test_painting_alone_and_in_a_batch_is_the_same() -> None:
    hair = drawn(6)
    batch, alone = torch.full((6, 4, 128, 128), 0.5), torch.full((1, 4, 128, 128), 0.5)
    third = rows_of(hair, torch.tensor([3]))
    for paint in (paint_hair, paint_scalp, paint_beard, paint_beard_roots):
        paint(hair, batch)
        paint(third, alone)
    assert torch.allclose(batch[3], alone[0], atol=1e-6)


def test_scalp_is_covered_and_face_is_not(many: Hair) -> None:
    each = one_of_each(many)
    each = each._replace(colour=torch.full((len(STYLES), 3), 0.02))
    atlas = torch.full((len(STYLES), 4, 256, 256), 0.5)
    paint_scalp(each, atlas)
    head = window(atlas, HEAD)
    uv = (skin().uv * 256).astype(int)
    face = [1, 4, 168, 152, 50, 280, 159, 386, 61, 291]  # nose, chin, cheeks, lids, mouth
    for index in face:
        assert torch.allclose(head[:, :, uv[index, 1], uv[index, 0]], torch.tensor(0.5))
    back = uv[468 + 36 * 5 + 4]  # above and behind
    dark = head[:, 0, back[1], back[0]]
    for style in ("cropped", "bob", "afro", "ponytail", "long straight"):
        assert dark[STYLES.index(style)] < 0.15
    assert dark[STYLES.index("bald")] > 0.3
    assert (atlas >= 0).all()


def test_beards_are_for_some_men() -> None:
    indices = torch.arange(400)
    men, women = draw_beard(0, indices, torch.ones(400)), draw_beard(0, indices, torch.zeros(400))
    assert 0.3 < men.there.float().mean() < 0.55
    assert not women.there.any()
    assert torch.equal(beard_shown(men).any(1), men.there)


def test_beards_move_with_the_landmarks_they_lie_on() -> None:
    landmarks = mean_landmarks()
    for piece in beard_parts():
        assert (piece.follows >= 0).all()
        away = np.linalg.norm(piece.mesh.points - landmarks[piece.follows], axis=1)
        assert away.max() < 3
        assert np.median(away) < 0.1


def test_beards_grow_outwards_and_down() -> None:
    beard = drawn(60).beard
    moved = beard_displacement(beard)
    assert (moved.norm(dim=2).amax(1) <= 1.5 * beard.length + 1e-6).all()
    chin = [at for at, one in enumerate(beard_parts()[0].follows) if one in (152, 175, 199)]
    grown = beard.there & (beard.chin > 0.5)
    assert grown.any()
    assert (moved[grown][:, chin, 1] > 0).all()


def test_beards_are_unlike_on_both_sides_but_not_much() -> None:
    hair = drawn(40)
    full = (hair.beard.there & (hair.beard.cheeks > 0.5)).nonzero()[:, 0]
    atlas = torch.zeros(len(full), 4, 512, 512)
    paint_beard(rows_of(hair, full), atlas)
    dense = window(atlas, BEARD)[:, 3, :64]
    unlike = (dense - dense.flip(2)).abs().mean((1, 2))
    assert unlike.min() > 0.02
    assert (unlike < 0.5 * dense.mean((1, 2))).all()


def test_beards_are_painted_where_hair_grows() -> None:
    hair = drawn(2)
    one = torch.ones(1)
    zones = {"there": torch.tensor([True]), "moustache": one, "chin": 0 * one, "cheeks": 0 * one}
    beard = rows_of(hair, torch.tensor([1])).beard._replace(**zones, density=one, length=one)
    hair = rows_of(hair, torch.tensor([1]))._replace(beard=beard)
    atlas = torch.full((1, 4, 256, 256), 0.5)
    paint_beard(hair, atlas)
    paint_beard_roots(hair, atlas)
    cover = window(atlas, BEARD)[0, 3]
    assert cover.min() >= 0
    assert cover.max() <= 1
    mesh = beard_parts()[0].mesh
    follows = beard_parts()[0].follows.tolist()

    def at(landmark: int) -> float:
        u, v = mesh.uv[follows.index(landmark)]
        return float(atlas[0, 3, int(v * 256), int(u * 256)])

    assert at(167) > 0.5  # between nose and lip
    assert at(199) == 0.0  # the chin
    uv = (skin().uv * 256).astype(int)
    assert atlas[0, 0, uv[167, 1], uv[167, 0]] != 0.5
    assert atlas[0, 0, uv[199, 1], uv[199, 0]] == 0.5
