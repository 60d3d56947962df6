import json
import math

import pytest

from trainer.data.realism.readings import Findings, Reading, as_json, table


@pytest.mark.parametrize(
    ("value", "least", "most", "state"),
    [
        (95.0, 95, None, "met"),
        (94.9, 95, None, "missed"),
        (5.0, None, 5, "met"),
        (5.1, None, 5, "missed"),
        (10.0, 8, 12, "met"),
        (7.0, 8, 12, "missed"),
        (13.0, 8, 12, "missed"),
        (7.0, None, None, ""),
        (math.nan, 95, None, "missed"),
        (math.nan, None, 5, "missed"),
    ],
)
def test_a_goal_is_met_or_missed(value: float, least: float | None, most: float | None, state: str) -> None:
    assert Reading("part", "name", value, least=least, most=most).state == state


def test_the_table_shows_every_figure_its_goal_and_what_is_missed() -> None:
    found = Findings(
        [
            Reading("detection", "faces found", 93.0, "%", least=95),
            Reading("speed", "pictures", 61.2, "1/s", least=60),
            Reading("speed", "maps", 12.0),
        ],
        ["seen on a rainy day"],
    )
    lines = table([found]).splitlines()
    assert lines[2] == "| detection | faces found | 93 % | ≥ 95 | missed |"
    assert lines[3] == "| speed | pictures | 61.2 1/s | ≥ 60 | met |"
    assert lines[4] == "| speed | maps | 12 |  |  |"
    assert lines[-1] == "- seen on a rainy day"


def test_what_could_not_be_measured_is_null_in_json() -> None:
    found = as_json([Findings([Reading("part", "name", math.nan, most=5)], [])])
    told = json.loads(json.dumps(found, allow_nan=False))
    assert told["readings"][0]["value"] is None
    assert told["readings"][0]["state"] == "missed"
