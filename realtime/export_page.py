"""`spec.json`, in which an exported generator tells what it is: its `Spec`, and of each graph the file, what
goes in and what comes out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from models import weights
from models.contract import Controls, CropRule, Observation, Spec
from realtime.onnx_graph import DTYPES, Place

NAME = "spec.json"
FORMAT = 1
GIVES = {
    "appearance": "appearance",
    "structure": "structure",
    "neutral": "neutral",
    "transfer": "moved",
    "blend": "blended",
    "decode": "",
}
"""The graphs, and what each calls the code that it gives; `decode` gives pictures."""
PICTURES = ("rgb", "alpha")
TAKEN = ("structure", "neutral", "codes", "moved", "a", "b")  # what graphs call the structure codes they take
ANEW = "expected a folder that python -m trainer.export NAME --output DIR wrote"


class Told(NamedTuple):
    """What is told of a graph."""

    file: Path
    sha256: str
    takes: tuple[Place, ...]
    gives: tuple[Place, ...]


@dataclass(frozen=True)
class Page:
    """What such a page says."""

    spec: Spec
    graphs: Mapping[
        str, Told
    ]  # all of `GIVES`, but for `appearance` where portraits are prepared on the host
    untrained: bool  # its weights are random ones


def read(folder: Path) -> Page:
    """The page of that folder. Raises ValueError, one line, for anything but a whole page of this format, and
    where a graph's file is missing or another than the page tells of."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder; {ANEW}")
    path = folder / NAME
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder}: there is no {NAME} in it; {ANEW}") from None
    except OSError as error:
        raise ValueError(f"{path}: can't be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{path}: not JSON; {ANEW}") from None
    with weights.naming(path):
        found = told.get("format") if isinstance(told, dict) else None
        if found != FORMAT:
            raise ValueError(f"its format is {found!r:.40}; expected {FORMAT}: export the generator anew")
        try:
            page = Page(_spec(told["spec"]), _graphs(folder, told["graphs"]), bool(told["untrained"]))
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"not a whole page ({error!r:.80}); {ANEW}") from None
        _check_names(page)
    for graph in page.graphs.values():
        _check_file(graph)
    return page


def _spec(told: dict[str, Any]) -> Spec:
    crops = {
        side: CropRule(**told[side] | {key: tuple(told[side][key]) for key in ("shift", "anchors")})
        for side in ("source", "driving")
    }
    lists = {key: tuple(told[key]) for key in ("controls", "sizes")}
    # The graphs have the precision that they were made with.
    return Spec(**told | crops | lists | {"reads": frozenset(told["reads"]), "half": None})


def _graphs(folder: Path, told: dict[str, Any]) -> dict[str, Told]:
    return {
        name: Told(folder / one["file"], one["sha256"], _places(one["inputs"]), _places(one["outputs"]))
        for name, one in told.items()
    }


def _places(told: list[dict[str, Any]]) -> tuple[Place, ...]:
    return tuple(Place(one["name"], one["dtype"], tuple(one["shape"])) for one in told)


def _check_names(page: Page) -> None:
    """Raises ValueError where a graph is missing, or takes or gives what no other knows of."""
    optional = {"appearance"} if page.spec.appearance == "host" else set()
    if missing := sorted(GIVES.keys() - page.graphs.keys() - optional):
        raise ValueError(f"it tells of no graph {missing[0]!r}; {ANEW}")
    structure = _fields(page.graphs["structure"], "structure")
    known = {f"{code}.{field}" for code in TAKEN for field in structure} | {"t"}
    known |= {f"controls.{field}" for field in Controls._fields}
    known |= {f"{side}.{field}" for side in ("source", "driving") for field in Observation._fields}
    if "appearance" in page.graphs:
        known |= {one.name for one in page.graphs["appearance"].gives}
    for name, graph in page.graphs.items():
        for one in graph.takes:
            if one.name not in known and not (optional and one.name.startswith("appearance.")):
                raise ValueError(f"{name}.onnx takes {one.name!r:.60}, which no graph gives")
        if any(one.dtype not in DTYPES for one in graph.takes + graph.gives) or not graph.takes:
            raise ValueError(f"{name}.onnx takes nothing, or of types other than {', '.join(DTYPES)}")
        if name in ("neutral", "transfer", "blend") and _fields(graph, GIVES[name]) != structure:
            raise ValueError(f"{name}.onnx gives another code than structure.onnx")
    if [one.name for one in page.graphs["decode"].gives] != list(PICTURES):
        raise ValueError(f"decode.onnx gives other than {' and '.join(PICTURES)}")


def _fields(graph: Told, code: str) -> list[str]:
    """Of the code that a graph gives, the names below its own."""
    return [one.name.removeprefix(f"{code}.") for one in graph.gives]


def _check_file(graph: Told) -> None:
    try:
        found = weights.file_sha256(graph.file)
    except OSError as error:
        raise ValueError(
            f"{graph.file}: can't be read: {error.strerror}; export the generator anew"
        ) from None
    if found != graph.sha256:
        raise ValueError(
            f"{graph.file}: damaged, or another export's: its SHA-256 is {found[:12]}…, expected "
            f"{graph.sha256:.12}…, as {NAME} says"
        )
