"""Several evaluations as one table:

    python -m trainer.compare reports/imf reports/dae_gan reports/landmark_gan
    python -m trainer.compare reports/* --experiment self_synthetic --figures l1_face psnr_face

A row each, with the same figure of copying the source and of the mean face behind it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from models.command_line import parse, reported
from trainer.evaluation import record

NAME = "python -m trainer.compare"


@dataclass(frozen=True)
class Comparison:
    """What to lay side by side."""

    reports: tyro.conf.Positional[tuple[Path, ...]]
    """Folders that trainer.evaluate wrote."""
    experiment: str = "crossing_synthetic"
    """Whose figures."""
    figures: tuple[str, ...] = ("l1_face", "psnr_face", "ssim_gauss11_face", "akd_l2_256", "l1_whole")
    """Which of them."""


def table(asked: Comparison) -> list[str]:
    """The lines of a Markdown table. Raises ValueError for a report without such an experiment or figure, and
    OSError where one can't be read."""
    heads = ["network", "pictures", *asked.figures, "AKD / the copy's", "R² of motion", "identity / chance"]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    return lines + [_row(asked, folder) for folder in asked.reports]


def _row(asked: Comparison, folder: Path) -> str:
    found = record.load(folder / "metrics.json")
    experiments = found["experiments"]
    if asked.experiment not in experiments:
        raise ValueError(f"{folder} has no {asked.experiment}; it has: {', '.join(experiments)}")
    figures = {one["name"]: one for one in experiments[asked.experiment]["figures"]}
    if lacking := [name for name in asked.figures if name not in figures]:
        raise ValueError(f"{folder} has no figure {lacking[0]}; it has: {', '.join(figures)}")
    first = figures[asked.figures[0]]
    cells = [f"`{found['network']['model']}`", str(first["drawn"]["n"])]
    for name in asked.figures:
        values = (figures[name][whose]["mean"] for whose in ("drawn", "copy", "mean_face"))
        drawn, copy, mean = (f"{value:.4f}" if value < 1 else f"{value:.2f}" for value in values)
        cells.append(f"{drawn} ({copy}, {mean})")
    akd = figures.get("akd_l2_256")
    cells.append("–" if akd is None or akd["of_copy"] is None else f"{akd['of_copy']:.2f}")
    probes = found.get("probes")
    if probes is None:
        return "| " + " | ".join([*cells, "–", "–"]) + " |"
    motion = probes["motion_r2_synthetic"]["structure"]["mean_r2"]
    who = probes["identity_retrieval_at_1_synthetic"]["structure"]["times_chance"]
    return "| " + " | ".join([*cells, f"{motion:.2f}", f"{who:.1f}"]) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit code 2 and one line for what can't be compared."""
    asked = parse(Comparison, sys.argv[1:] if arguments is None else arguments, NAME, __doc__)
    return reported(lambda: print("\n".join(table(asked))), NAME)


if __name__ == "__main__":
    sys.exit(main())
