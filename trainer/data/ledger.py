"""What became of each clip that was looked at: kept line by line while the work goes on, told at its end."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from trainer.data.files import write_json, write_text
from trainer.data.quality import REASONS

UNREADABLE = "unreadable"
NO_FACE = "no face"
EMPTY = "empty"
MOST_LISTED = 1000  # of what was left out, in the readable report; the other one has all


class Part(BaseModel):
    """A shot, or what else was made, or not, of a clip."""

    model_config = ConfigDict(frozen=True)

    id: str  # of what is written
    frames: int
    first: int  # number of its first frame in the original
    last: int
    broke: str | None = None  # the limit that it is beyond; None: it is kept
    figure: float | None = None
    limit: float | None = None


class Outcome(BaseModel):
    """What became of one clip."""

    model_config = ConfigDict(frozen=True)

    clip: str
    source: str
    frames: int = 0  # that could be read
    faceless: int = 0  # of them
    parts: tuple[Part, ...] = ()
    reason: str | None = None  # why nothing could be made of it, in two words; None: `parts` tell
    detail: str = ""

    @property
    def remarked(self) -> bool:
        """Is there something to be told of a clip that is of use?"""
        return bool(self.detail) and self.reason is None

    @property
    def kept(self) -> list[Part]:
        return [part for part in self.parts if part.broke is None]


class Ledger:
    """The outcomes in a folder, `outcomes.jsonl`, below a line with the settings that they were made with.

    Raises ValueError where they were made with other settings: a data set must be of one kind.
    """

    def __init__(self, folder: Path, kind: str, settings: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._path = folder, folder / "outcomes.jsonl"
        self._head = {"kind": kind, "settings": settings}
        self._outcomes: dict[str, Outcome] = {}
        if self._path.exists():
            self._read()
        else:
            write_text(self._path, json.dumps(self._head) + "\n")

    def get(self, clip: str) -> Outcome | None:
        return self._outcomes.get(clip)

    def add(self, outcome: Outcome) -> None:
        """Keep it at once, so that a stopped run can go on."""
        self._outcomes[outcome.clip] = outcome
        with self._path.open("a", encoding="utf-8") as file:
            file.write(outcome.model_dump_json() + "\n")

    def _read(self) -> None:
        """Raises ValueError for a damaged file, and for other settings."""
        # A run that was killed may have left the beginning of a line, whose clip is then done again.
        *lines, begun = self._path.read_bytes().split(b"\n")
        try:
            head = json.loads(lines[0])
            changed = _difference(head, self._head)
            outcomes = [Outcome.model_validate_json(line) for line in lines[1:]]
        except (LookupError, ValueError, AttributeError, TypeError):
            raise ValueError(
                f"{self._path} is damaged: delete it, and all clips are looked at again"
            ) from None
        if changed:
            raise ValueError(
                f"{self._folder} was prepared with other settings ({changed}): take another output folder"
            )
        self._outcomes = {outcome.clip: outcome for outcome in outcomes}
        if begun:
            write_text(self._path, "".join(line.decode() + "\n" for line in lines))

    def report(self, title: str, layout: str, remarks: Sequence[str] = ()) -> dict[str, Any]:
        """Write `report.json` and `report.md`, and give what the first one holds. remarks: a sentence
        each."""
        outcomes = sorted(self._outcomes.values(), key=lambda one: one.clip)
        kept = [part for one in outcomes for part in one.kept]
        lost = list(_lost(outcomes))
        report = {
            "title": title,
            "layout": layout,
            "settings": self._head["settings"],
            "clips": {"found": len(outcomes), "used": sum(bool(one.kept) for one in outcomes)},
            "kept": {"shots": len(kept), "frames": sum(part.frames for part in kept)},
            "left_out": dict(Counter(what for what, _, _ in lost).most_common()),
            "frames_without_face": sum(one.faceless for one in outcomes),
            "remarks": [*remarks, *(f"{one.clip}: {one.detail}" for one in outcomes if one.remarked)],
            "outcomes": [one.model_dump(mode="json") for one in outcomes],
        }
        write_json(self._folder / "report.json", report)
        write_text(self._folder / "report.md", _in_words(report, lost))
        return report


def _lost(outcomes: Iterable[Outcome]) -> Iterable[tuple[str, str, str]]:
    """What was left out: the reason, the name, the details."""
    for one in outcomes:
        if one.reason:
            yield one.reason, one.clip, one.detail or one.source
        for part in one.parts:
            if part.broke:
                figure = f"{part.figure:.4g}, limit {part.limit:.4g}" if part.figure is not None else ""
                yield (
                    REASONS[part.broke],
                    part.id,
                    f"{figure}; frames {part.first} to {part.last} of {one.source}",
                )


def _in_words(report: dict[str, Any], lost: list[tuple[str, str, str]]) -> str:
    limits = {reason: name for name, reason in REASONS.items()}
    clips, kept = report["clips"], report["kept"]
    lines = [f"# {report['title']}", "", f"Layout: {report['layout']}.", ""]
    shots = f"{kept['shots']} shots, {kept['frames']} frames"
    lines.append(f"Of {clips['found']} clips {clips['used']} are of use: {shots}.")
    if report["frames_without_face"]:
        lines += ["", f"{report['frames_without_face']} frames show no face."]
    if lost:
        lines += ["", "## Left out", "", "| why | how many | the limit |", "|---|---|---|"]
        lines += [
            f"| {reason} | {count} | {_advice(limits.get(reason), report['settings'])} |"
            for reason, count in report["left_out"].items()
        ]
        lines += ["", "| clip or shot | why | figure |", "|---|---|---|"]
        lines += [f"| {name} | {reason} | {detail} |" for reason, name, detail in lost[:MOST_LISTED]]
        if len(lost) > MOST_LISTED:
            lines += ["", f"… and {len(lost) - MOST_LISTED} more: report.json has all."]
    if report["remarks"]:
        lines += ["", "## Remarks", "", *(f"- {remark}" for remark in report["remarks"][:MOST_LISTED])]
    return "\n".join(lines) + "\n"


def _advice(name: str | None, settings: dict[str, Any]) -> str:
    return "" if name is None else f"`--{name.replace('_', '-')}`, now {settings[name]}"


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Which settings are others, in words; empty where none is."""
    if old["kind"] != new["kind"]:
        return f"{old['kind']}, not {new['kind']}"
    before, now = old["settings"], new["settings"]
    names = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {before.get(name)}, now {now.get(name)}" for name in names)
