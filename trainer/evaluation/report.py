"""A report for people, in Markdown and in HTML, made of nothing but what metrics.json holds."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

Document = Mapping[str, Any]

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .8em;border-bottom:1px solid #ddd;"
    "text-align:left}td+td{font-variant-numeric:tabular-nums}td:not(:last-child){white-space:nowrap}"
    "table{display:block;overflow-x:auto}img{max-width:100%}"
)
WORDS = "source, driving, drawn, truth, and how far drawn and source are from the truth (0 to 96 of 255)"
KINDS = {
    "crossing": "Cross-identity: a person drawn with somebody else's motion, beside a true picture of that",
    "self": "Self-reenactment: a person drawn with his own motion",
    "sequences": "Videos, each shown by a picture of the same person from elsewhere",
}

WAYS = {
    "result": "f_D of both halves",
    "offset": "the Offset Trick: w + w_driver − w_driver,neutral",
    "coarse": "coarse rows swapped: the first {rows} are the driver's",
    "copy": "the source's own code",
    "driver": "the driver's own code",
}
NAMES = {"offset": "the Offset Trick", "coarse": "swapping coarse rows"}


class Heading(NamedTuple):
    text: str
    level: int = 2


class Text(NamedTuple):
    text: str


class Points(NamedTuple):
    lines: Sequence[str]


class Table(NamedTuple):
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class Picture(NamedTuple):
    file: str
    words: str


Block = Heading | Text | Points | Table | Picture


def markdown(document: Document) -> str:
    """The report as Markdown."""
    return "\n\n".join(_as_markdown(block) for block in _blocks(document)) + "\n"


def html(document: Document) -> str:
    """The report as a page that needs nothing but its pictures."""
    body = "\n".join(_as_html(block) for block in _blocks(document))
    title = escape(f"Evaluation of {document['network']['model']}")
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style>\n<body>\n{body}\n</body></html>\n"
    )


def _blocks(document: Document) -> Iterable[Block]:
    network, settings = document["network"], document["settings"]
    yield Heading(f"Evaluation of {network['model']}", 1)
    weights = f"weights {network['sha256'][:12]}" if network["sha256"] else "no weights"
    yield Text(
        f"{network['file']} ({weights}), data {settings['data']}, seed {settings['seed']}, "
        f"{document['device']}, torch {document['torch']}. Landmarks: {document['landmarks']}. "
        f"People whom training with this seed holds out; motion absolute. {document['framing']}"
    )
    for name, found in document["experiments"].items():
        yield from _experiment(name, found, document["brought"])
    if steady := document.get("steadiness"):
        yield Heading("Flicker, synthetic")
        yield from _flicker(steady)
    if probes := document.get("probes"):
        yield from _probes(probes)
    if found := document.get("retrieval"):
        yield from _retrieval(found)
    if found := document.get("transfer"):
        yield from _transfer(found)
    yield Heading("Figures that need what isn't here")
    yield Table(("figure", ""), [(name, _given(value)) for name, value in document["brought"].items()])


def _experiment(name: str, found: Document, brought: Document) -> Iterable[Block]:
    kind = name.removesuffix("_synthetic")
    yield Heading(f"{KINDS[kind]}{' (synthetic)' if name != kind else ''}")
    if kind == "sequences":
        yield from _together(found, brought)
    rows = []
    for one in found["figures"]:
        drawn = one["drawn"]
        rows.append(
            (
                f"{name}.{one['name']}",
                _number(drawn["mean"], one["unit"]),
                _interval(drawn),
                _number(one["copy"]["mean"], one["unit"]),
                _number(one["mean_face"]["mean"], one["unit"]),
                "yes" if one["beats_both"] else "no",
                str(drawn["n"]),
                str(drawn["groups"]),
                one["paper"] or "–",
            )
        )
    head = ("figure", "network", "95 %", "copy", "mean face", "better than both", "n", "people", "paper")
    yield Table(head, rows)
    yield Points([f"{one['name']}: {one['meaning']}; {one['better']} is better" for one in found["figures"]])
    if found["notes"]:
        yield Points(found["notes"])
    if steady := found.get("steadiness"):
        yield from _flicker(steady)
    for picture in found.get("pictures", ()):
        yield Picture(picture, WORDS)


def _together(found: Document, brought: Document) -> Iterable[Block]:
    """AKD and ACED of sequences, beside each other."""
    figures = {one["name"]: one for one in found["figures"]}
    akd, aced = figures.get("akd_l2_256"), figures.get("aced_l1_synthetic")
    theirs = brought["aced_l1"]
    fewest, most = found["frames"]
    yield Text(
        f"{found['sequences']} sequences of {fewest} to {most} frames. AKD says how well pose and expression "
        "are followed, ACED whether it still is the source's person; neither says anything alone: a copy of "
        "the source has no ACED, a copy of the driver no AKD."
    )
    rows = []
    for label, whose in (("network", "drawn"), ("copy", "copy"), ("mean face", "mean_face")):
        cells = [*_beside(akd, whose), *_beside(aced, whose)]
        own = _number(theirs["mean"]) if whose == "drawn" and not isinstance(theirs, str) else "–"
        rows.append((label, *cells, own))
    if all(paper := found["paper"].values()):
        rows.append(("paper", *(cell for value in paper for cell in (value, "–")), "–"))
    head = ("", "AKD, px", "95 %", "ACED, our embedder's", "95 %", "ACED, brought")
    yield Table(head, rows)


def _beside(figure: Document | None, whose: str) -> tuple[str, str]:
    return ("–", "–") if figure is None else (_number(figure[whose]["mean"]), _interval(figure[whose]))


def _flicker(steady: Document) -> Iterable[Block]:
    yield Text(
        "Flicker: mean absolute difference of the face from frame to frame, after the true clip's estimated "
        "motion was taken out. The truth's own says how good that estimate is."
    )
    yield Table(("shown", "flicker", "95 %", "n", "people"), [_summarised(*one) for one in steady.items()])


def _probes(probes: Document) -> Iterable[Block]:
    yield Heading("What is in the codes, synthetic")
    motion = probes["motion_r2_synthetic"]
    yield Text(
        "R² of motion by ridge regression from a code, on people whom it was not fitted to "
        f"({motion['structure']['n_train']} pictures to fit, {motion['structure']['n_test']} to test)."
    )
    names = list(motion["structure"]["r2"])
    rows = [(name, *(f"{motion[code]['r2'][name]:.3f}" for code in motion)) for name in names]
    rows.append(("mean", *(f"{motion[code]['mean_r2']:.3f}" for code in motion)))
    yield Table(("motion", *(f"from {code}" for code in motion)), rows)
    who = probes["identity_retrieval_at_1_synthetic"]
    yield Text(
        "How often the nearest picture from another scene is of the same person. Landmarks carry identity: "
        "of a network whose structure they are, nothing else is expected."
    )
    yield Table(
        ("by", "share", "chance", "× chance", "n"),
        [
            (code, f"{one['share']:.3f}", f"{one['chance']:.3f}", f"{one['times_chance']:.2f}", str(one["n"]))
            for code, one in who.items()
        ],
    )


def _retrieval(found: Document) -> Iterable[Block]:
    yield Heading("Pictures found by their pose codes, synthetic")
    yield Table(
        ("", "five nearest of other people", "all of other people"),
        [
            ("pose, degrees", f"{found['pose_deg']:.2f}", f"{found['pose_chance_deg']:.2f}"),
            ("expression", f"{found['expression']:.4f}", f"{found['expression_chance']:.4f}"),
        ],
    )
    yield Text(
        f"The embedded faces of a person's pictures in one scene are {found['embedded_face_within']:.3g} "
        f"apart, those of different ones {found['embedded_face_between']:.3g}: "
        f"{found['embedded_face_within_over_between']:.3f} of that (0: pose has no part in them; n = "
        f"{found['queries']})."
    )


def _transfer(found: Document) -> Iterable[Block]:
    yield Heading("One's looks and what another one does, synthetic")
    rows = []
    for codes, whose in (("sampled", "codes of the mapping"), ("encoded", "codes of pictures")):
        halves = found["reconstruction"][codes]
        rows += [
            (f"{whose}: error of f_D(f_E(w)), of w's distance from the mean", *_percent(halves["code"])),
            (f"{whose}: PSNR of its picture against G(w)", *_measured(halves["psnr"], "dB")),
        ]
    rows += [
        ("inversion: PSNR of G(w) against the picture", *_measured(found["inversion"]["psnr"], "dB")),
        ("inversion: L1", *_measured(found["inversion"]["l1"])),
    ]
    yield Table(("figure", "mean", "95 %", "n", "people"), rows)
    if ways := found.get("followed"):
        result = ways["result"]
        yield Text(
            "A face model judges. Structure: correlation of each of its numbers with that of the driver's "
            "picture, and the mean of these; pose, mouth and blink: the means of some. Appearance: share of "
            "the pairs whose looks are nearer to the source's picture than to the driver's "
            f"(n = {result['appearance']['n']}, {result['appearance']['groups']} people)."
        )
        parts = list(result["parts"])
        head = ("drawn", "structure", *parts, "appearance", "95 %")
        yield Table(
            head,
            [
                (
                    WAYS[way].format(rows=found["coarse_rows"]),
                    *(_signed(value) for value in (one["structure"], *one["parts"].values())),
                    *_percent(one["appearance"])[:2],
                )
                for way, one in ways.items()
            ],
        )
        verdicts = [("better" if one else "not better", way) for way, one in found["better_than"].items()]
        yield Points([f"{WAYS['result']}: {verdict} than {NAMES[way]} in both" for verdict, way in verdicts])
        yield Table(
            ("correlation with the driver", *ways),
            [(name, *(_signed(one["numbers"][name]) for one in ways.values())) for name in result["numbers"]],
        )
    for picture in found.get("pictures", ()):
        yield Picture(picture, "source, driving, and what each way draws of the two")


def _measured(one: Document, unit: str = "") -> tuple[str, ...]:
    return _number(one["mean"], unit), _interval(one), str(one["n"]), str(one["groups"])


def _percent(one: Document) -> tuple[str, ...]:
    between = "–" if one["low"] is None else f"{one['low']:.1%} … {one['high']:.1%}"
    return f"{one['mean']:.1%}", between, str(one["n"]), str(one["groups"])


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _summarised(name: str, one: Document) -> tuple[str, ...]:
    return name, f"{one['mean']:.4f}", _interval(one), str(one["n"]), str(one["groups"])


def _interval(one: Document) -> str:
    return "–" if one["low"] is None else f"{_number(one['low'])} … {_number(one['high'])}"


def _number(value: float, unit: str = "") -> str:
    return f"{value:.4g} {unit}".strip()


def _given(value: Any) -> str:
    return value if isinstance(value, str) else ", ".join(f"{k} {v}" for k, v in value.items())


def _as_markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Text(text):
            return text
        case Points(lines):
            return "\n".join(f"- {line}" for line in lines)
        case Picture(file, words):
            return f"![{words}]({file})"
        case Table(head, rows):
            every: list[Sequence[str]] = [head, ["---"] * len(head), *rows]
            return "\n".join(f"| {' | '.join(cell.replace('|', '∣') for cell in line)} |" for line in every)


def _as_html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{escape(text)}</h{level}>"
        case Text(text):
            return f"<p>{escape(text)}</p>"
        case Points(lines):
            return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"
        case Picture(file, words):
            return f'<p><img src="{escape(file)}" alt="{escape(words)}"><br>{escape(words)}</p>'
        case Table(head, rows):
            top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
            body = "".join(
                "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows
            )
            return f"<table><tr>{top}</tr>\n{body}</table>"
