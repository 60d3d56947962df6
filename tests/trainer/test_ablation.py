"""What a table of ablations concludes from figures."""

import math

import pytest

from trainer import recipes
from trainer.ablation import (
    AS,
    CLOSE,
    METRICS,
    NOT_AS,
    SILENT,
    UNKNOWN,
    Row,
    as_json,
    as_markdown,
    effects,
    verdict,
)
from trainer.metrics.summary import Summary
from trainer.recipe import Ablation
from trainer.recipes import Variant, each_alone, ladder

FALLS = Ablation({}, "SSIM falls", "ssim", -1)
STAYS = Ablation({}, "SSIM stays", "ssim", 0)
ABLATIONS = {"one": FALLS, "two": STAYS, "three": Ablation({}, "not reported")}


def row(ssim: list[float], **losses: float) -> Row:
    return Row({"ssim": ssim}, ["ada", "bob", "cyd"], losses, 64)


def test_alone_each_part_is_left_out_of_the_whole() -> None:
    assert each_alone(ABLATIONS) == {
        "whole": Variant((), None),
        "without-one": Variant(("one",), "whole"),
        "without-two": Variant(("two",), "whole"),
        "without-three": Variant(("three",), "whole"),
    }


def test_a_ladder_adds_a_part_with_each_rung() -> None:
    assert ladder(ABLATIONS) == {
        "vanilla": Variant(("one", "two", "three"), None),
        "with-one": Variant(("two", "three"), "vanilla"),
        "with-two": Variant(("three",), "with-one"),
        "whole": Variant((), "with-two"),
    }


@pytest.mark.parametrize("name", recipes.names())
def test_every_switch_of_a_recipe_has_one_row_and_expects_something_that_is_measured(name: str) -> None:
    entry = recipes.get(name)
    shown = []
    for variant in entry.variants.values():
        if variant.against is not None:
            (part,) = set(variant.off) ^ set(entry.variants[variant.against].off)
            shown.append(part)
    assert sorted(shown) == sorted(entry.ablations)
    assert entry.variants["whole"].off == ()
    for ablation in entry.ablations.values():
        assert ablation.direction in (-1, 0, 1)
        assert ablation.metric in ("", *METRICS)
        assert ablation.metric or ablation.direction == 0


def test_dae_gan_is_built_up_as_in_the_paper() -> None:
    assert list(recipes.get("dae_gan").variants) == [
        "vanilla",
        "with-smoothness",
        "with-multi-frame",
        "with-multi-scale",
        "with-adversarial",
        "whole",
    ]
    assert recipes.get("dae_gan").variants["with-adversarial"].off == ("feature-matching",)


@pytest.mark.parametrize(
    ("mean", "low", "high", "said"),
    [
        (-0.04, -0.06, -0.02, AS),
        (0.04, 0.02, 0.06, NOT_AS),
        (-0.04, -0.09, 0.01, CLOSE),
        (0.04, -0.01, 0.09, CLOSE),
        (-0.004, -0.005, -0.003, CLOSE),  # less than a hundredth of 0.7
        (-0.04, None, None, CLOSE),  # one person is no interval
    ],
)
def test_what_falls_falls_beyond_its_interval(
    mean: float, low: float | None, high: float | None, said: str
) -> None:
    found = Summary(mean, 8, 8, low, high)
    assert verdict(FALLS, found, 0.7) == said
    rises = FALLS._replace(direction=1)
    assert verdict(rises, found, 0.7) == {AS: NOT_AS, NOT_AS: AS, CLOSE: CLOSE}[said]


def test_what_stays_changes_by_less_than_a_hundredth() -> None:
    for mean, said in ((0.0069, AS), (-0.0069, AS), (0.0071, NOT_AS), (-0.0071, NOT_AS)):
        assert verdict(STAYS, Summary(mean, 8, 8, mean, mean), 0.7) == said


def test_what_is_not_known_is_said() -> None:
    assert verdict(FALLS, None, math.nan) == UNKNOWN
    assert verdict(ABLATIONS["three"], Summary(1, 8, 8, 1, 1), 0.7) == SILENT


def test_effects_are_without_less_with_on_every_way() -> None:
    """By hand: on a ladder the lower rung is without the part, alone the row itself is."""
    better, worse = row([0.7, 0.8, 0.9]), row([0.6, 0.7, 0.8])
    (rung,) = effects({"vanilla": worse, "with-one": better}, ladder(ABLATIONS), ABLATIONS)
    (alone,) = effects({"whole": better, "without-one": worse}, each_alone(ABLATIONS), ABLATIONS)
    for effect in (rung, alone):
        assert effect.part == "one"
        assert effect.changes["ssim"].mean == pytest.approx(-0.1)
        assert effect.verdict == AS
    assert (rung.without, rung.among) == ("vanilla", "with-one")
    assert (alone.without, alone.among) == ("without-one", "whole")
    (turned,) = effects({"whole": worse, "without-one": better}, each_alone(ABLATIONS), ABLATIONS)
    assert turned.changes["ssim"].mean == pytest.approx(0.1)
    assert turned.verdict == NOT_AS


def test_rows_that_are_not_there_have_no_effect() -> None:
    one = row([0.7, 0.8, 0.9])
    assert effects({"vanilla": one, "with-two": one}, ladder(ABLATIONS), ABLATIONS) == []


def test_people_are_what_varies() -> None:
    """Many pictures of one person say no more than he does."""
    alike = Row({"ssim": [0.7] * 6}, ["ada"] * 6, {}, 64)
    other = Row({"ssim": [0.6] * 6}, ["ada"] * 6, {}, 64)
    (effect,) = effects({"whole": alike, "without-one": other}, each_alone(ABLATIONS), ABLATIONS)
    assert effect.changes["ssim"].low is None
    assert effect.verdict == CLOSE


def test_tables_hold_every_row_and_losses_that_only_some_have() -> None:
    rows = {"whole": row([0.7, 0.8, 0.9], pixel=2.5, hinge=0.125), "without-one": row([0.6] * 3, pixel=3.0)}
    variants = each_alone(ABLATIONS)
    said = as_markdown("Ablations", ["note"], rows, variants, ABLATIONS)
    assert "| whole | nothing | 64 | 0.8 |" in said
    assert "| without-one | one | 64 | 0.6 |" in said
    assert "| one | without-one − whole | -0.2 (-0.3 … -0.1) | SSIM falls | as the paper |" in said
    assert "| whole | 2.5 | 0.125 |" in said
    assert "| without-one | 3 | – |" in said
    assert "AKD" not in said
    found = as_json(rows, variants, ABLATIONS)
    assert found["variants"]["without-one"]["figures"]["ssim"]["each"] == [0.6] * 3
    assert found["effects"][0]["changes"]["ssim"]["mean"] == pytest.approx(-0.2)
    assert found["effects"][0]["verdict"] == AS


def test_infinite_figures_are_no_json() -> None:
    rows = {"whole": Row({"psnr": [math.inf, 20.0]}, ["ada", "bob"], {"pixel": math.nan}, 64)}
    found = as_json(rows, each_alone(ABLATIONS), ABLATIONS)["variants"]["whole"]
    assert found["figures"]["psnr"] == {"mean": None, "each": [None, 20.0]}
    assert found["losses"] == {"pixel": None}
