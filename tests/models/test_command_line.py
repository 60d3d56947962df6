"""Command lines: how values are given, and that what is wrong is told in one line."""

from dataclasses import dataclass

import pytest

from models.command_line import parse


@dataclass(frozen=True)
class Meal:
    """What to cook."""

    courses: tuple[str, ...]
    """Names of dishes."""
    guests: int = 2
    """People at the table."""

    def __post_init__(self) -> None:
        if self.guests < 1:
            raise ValueError(f"guests {self.guests}: expected\nat least 1")


@pytest.mark.parametrize(
    ("repeated", "arguments"),
    [(False, ["--courses", "soup", "pie"]), (True, ["--courses", "soup", "--courses", "pie"])],
)
def test_several_values(repeated: bool, arguments: list[str]) -> None:
    assert parse(Meal, arguments, "cook", None, repeated) == Meal(("soup", "pie"))


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--courses", "soup", "--guests", "few"], "cook: --guests: invalid"),
        (["--courses", "soup", "--forks", "3"], "cook: Unrecognized options: --forks"),
        (["--courses", "soup", "--guests", "0"], "cook: guests 0: expected at least 1"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    repeated: bool, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(Meal, arguments, "cook", None, repeated)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(told)
    assert said.endswith(" (--help lists the options)\n")
    assert said.count("\n") == 1
    assert "---" not in said


def test_help_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(Meal, ["--help"], "cook", "What to cook.")
    assert not end.value.code
    assert "--guests" in capsys.readouterr().out
