"""What the parts of a recipe are good for: the table of its ablations.

A part's effect is a figure without it less the same with it, on the same pictures of the same people. That
two runs differ by chance, too, isn't in its interval: one seed is one run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.metrics.summary import Summary, summary
from trainer.recipe import Ablation
from trainer.recipes import Variant

METRICS = {
    "l1": "L1",
    "psnr": "PSNR dB",
    "ssim": "SSIM",
    "akd": "AKD px",
    "csim": "CSIM synthetic",
    "aced": "ACED synthetic",
}
STAYS = 0.01  # of a figure: by less it doesn't change, as far as papers' digits tell

AS, NOT_AS, SILENT = "as the paper", "not as the paper", "the paper says nothing"
CLOSE, UNKNOWN = "too close to tell", "not measured"


@dataclass(frozen=True)
class Row:
    """A variant, trained and judged."""

    figures: Mapping[str, Sequence[float]]  # of METRICS: of each picture; those that there are
    people: Sequence[str]  # whose each picture is
    losses: Mapping[str, float]  # what the log's last line says of them
    pictures: int  # learnt from

    def mean(self, metric: str) -> float:
        return summary(self.figures[metric], self.people).mean


@dataclass(frozen=True)
class Effect:
    """Of leaving a part out."""

    part: str
    without: str  # the rows
    among: str
    changes: Mapping[str, Summary]  # by metric
    verdict: str


def effects(
    rows: Mapping[str, Row], variants: Mapping[str, Variant], ablations: Mapping[str, Ablation]
) -> list[Effect]:
    """Of every row whose other row is there, too."""
    found = []
    for name, variant in variants.items():
        other = variant.against
        if other is None or name not in rows or other not in rows:
            continue
        (part,) = set(variant.off) ^ set(variants[other].off)
        without, among = (name, other) if part in variant.off else (other, name)
        changes = {
            metric: change(rows[without], rows[among], metric)
            for metric in METRICS
            if metric in rows[without].figures and metric in rows[among].figures
        }
        ablation = ablations[part]
        before = rows[among].mean(ablation.metric) if ablation.metric in changes else math.nan
        found.append(
            Effect(part, without, among, changes, verdict(ablation, changes.get(ablation.metric), before))
        )
    return found


def change(without: Row, among: Row, metric: str) -> Summary:
    """Picture by picture; the interval is from one person to another."""
    assert list(without.people) == list(among.people)
    pairs = zip(without.figures[metric], among.figures[metric], strict=True)
    return summary([one - other for one, other in pairs], without.people)


def verdict(ablation: Ablation, found: Summary | None, before: float) -> str:
    """Was it as the paper has it? before: the figure with the part.

    A figure stays where it changes by less than a hundredth; it rises or falls where it changes by more, and
    its 95 % interval lies on that side of nought.
    """
    if not ablation.metric:
        return SILENT
    if found is None:
        return UNKNOWN
    stays = abs(found.mean) <= STAYS * abs(before)
    if ablation.direction == 0:
        return AS if stays else NOT_AS
    if stays or found.low is None or found.high is None or found.low <= 0 <= found.high:
        return CLOSE
    return AS if (found.mean > 0) == (ablation.direction > 0) else NOT_AS


def as_markdown(
    title: str,
    notes: Sequence[str],
    rows: Mapping[str, Row],
    variants: Mapping[str, Variant],
    ablations: Mapping[str, Ablation],
) -> str:
    """Figures, effects and the losses at the end, a table each."""
    metrics = [metric for metric in METRICS if any(metric in row.figures for row in rows.values())]
    heads = [METRICS[metric] for metric in metrics]
    figures = [
        [
            name,
            ", ".join(variants[name].off) or "nothing",
            f"{row.pictures:,}",
            *(f"{row.mean(metric):.4g}" if metric in row.figures else "–" for metric in metrics),
        ]
        for name, row in rows.items()
    ]
    parts = [
        [
            effect.part,
            f"{effect.without} − {effect.among}",
            *(_said(effect.changes.get(metric)) for metric in metrics),
            ablations[effect.part].expected,
            effect.verdict,
        ]
        for effect in effects(rows, variants, ablations)
    ]
    terms = list(dict.fromkeys(term for row in rows.values() for term in row.losses))
    losses = [
        [name, *(f"{row.losses[term]:.3g}" if term in row.losses else "–" for term in terms)]
        for name, row in rows.items()
    ]
    return "\n".join(
        [
            f"# {title}",
            "",
            *(f"- {note}" for note in notes),
            "",
            "## Figures",
            "",
            *_table(["variant", "switched off", "pictures", *heads], figures),
            "",
            "## What leaving a part out changes",
            "",
            *_table(["part", "rows", *heads, "in the paper", "here"], parts),
            "",
            "## Losses at the end, weighted as they are added up",
            "",
            *_table(["variant", *terms], losses),
            "",
        ]
    )


def as_json(
    rows: Mapping[str, Row], variants: Mapping[str, Variant], ablations: Mapping[str, Ablation]
) -> dict[str, Any]:
    """The same, with every picture's figures."""
    return {
        "variants": {
            name: {
                "off": list(variants[name].off),
                "pictures": row.pictures,
                "figures": {
                    metric: {"mean": _finite(row.mean(metric)), "each": [_finite(one) for one in values]}
                    for metric, values in row.figures.items()
                },
                "people": list(row.people),
                "losses": {term: _finite(value) for term, value in row.losses.items()},
            }
            for name, row in rows.items()
        },
        "effects": [
            {
                "part": one.part,
                "without": one.without,
                "with": one.among,
                "changes": {
                    metric: {key: _finite(value) for key, value in found._asdict().items()}
                    for metric, found in one.changes.items()
                },
                "expected": ablations[one.part].expected,
                "metric": ablations[one.part].metric,
                "direction": ablations[one.part].direction,
                "verdict": one.verdict,
            }
            for one in effects(rows, variants, ablations)
        ],
    }


def _said(found: Summary | None) -> str:
    if found is None:
        return "–"
    if found.low is None:
        return f"{found.mean:+.3g}"
    return f"{found.mean:+.3g} ({found.low:+.3g} … {found.high:+.3g})"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]


def _finite(value: float | None) -> float | None:
    """JSON has no infinities."""
    return value if value is not None and math.isfinite(value) else None
