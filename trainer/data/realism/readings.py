"""What was measured, beside what it should be: as a table for a page, and for programs."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from torch import nn


class Reading(NamedTuple):
    """One figure."""

    part: str  # of the check, as in `--only`
    name: str
    value: float
    unit: str = ""
    least: float | None = None  # the goal, where there is one: what the value must reach …
    most: float | None = None  # … or must not exceed

    @property
    def state(self) -> Literal["met", "missed", ""]:
        """Empty without a goal. NaN misses any."""
        if self.least is None and self.most is None:
            return ""
        high = self.least is None or self.value >= self.least
        low = self.most is None or self.value <= self.most
        return "met" if high and low else "missed"

    @property
    def goal(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        if self.least is not None:
            return f"≥ {self.least:g}"
        return "" if self.most is None else f"≤ {self.most:g}"


class Findings(NamedTuple):
    """A part's outcome."""

    readings: list[Reading]
    notes: list[str]  # what a reader must know to read them, and what could not be measured, with the reason
    network: nn.Module | None = None  # that was trained for them, a judge of other pictures


def table(findings: Sequence[Findings]) -> str:
    """All of it in Markdown."""
    lines = ["| | figure | measured | goal | |", "|---|---|---:|---:|---|"]
    for found in findings:
        for one in found.readings:
            value = f"{one.value:.3g} {one.unit}".strip()
            lines.append(f"| {one.part} | {one.name} | {value} | {one.goal} | {one.state} |")
    notes = [f"- {note}" for found in findings for note in found.notes]
    return "\n".join(lines + ([""] + notes if notes else [])) + "\n"


def as_json(findings: Sequence[Findings]) -> dict[str, Any]:
    """For a file: NaN, which JSON lacks, is null."""
    return {
        "readings": [
            one._asdict() | {"value": one.value if one.value == one.value else None, "state": one.state}
            for found in findings
            for one in found.readings
        ],
        "notes": [note for found in findings for note in found.notes],
    }
