"""`docs/networks.md` says what the networks are: its tables, and every shape in its drawings."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from models import describe, registry
from models.describe import Description, renewed, shape_of

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"
NETWORKS = [name for name in registry.MODULES if name != "warp"]
CALLS = {"portrait": ("appearance",), "frame": ("structure", "decode")}  # of each half of a drawing

NODE = re.compile(r"^(\w+)(?:\[|\(\[|\{\{)\"(.+?)\"(?:\]|\]\)|\}\})$")
EDGE = re.compile(r"^(\w+) (?:-->|-\.->)\|\"?(.+?)\"?\| (\w+)$")
SHAPE = re.compile(r"\d+(?:×\d+)+|\b\d+$")

measured = cache(describe.describe)


class Node(NamedTuple):
    names: list[str]  # of modules and tensors; * is any one name between dots
    half: str


class Drawing(NamedTuple):
    nodes: dict[str, Node]
    edges: list[tuple[str, str, str]]  # from, label, to


def drawing_of(name: str) -> Drawing:
    """A line a node or an edge; a node's label is a title and then names, an edge's lines end in shapes."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {name}\n")[1].split("\n## ")[0]
    (lines,) = re.findall(r"```mermaid\nflowchart TB\n(.*?)```", section, re.DOTALL)
    drawing, half = Drawing({}, []), ""
    for line in map(str.strip, lines.splitlines()):
        if begin := re.match(r"subgraph (\w+) ", line):
            half = begin[1]
        elif line == "end":
            half = ""
        elif node := NODE.match(line):
            drawing.nodes[node[1]] = Node(node[2].split("<br/>")[1:], half)
        else:
            edge = EDGE.match(line)
            assert edge, f"neither node nor edge: {line}"
            drawing.edges.append((edge[1], edge[2], edge[3]))
    return drawing


def matches(name: str, path: str) -> bool:
    return re.fullmatch(re.escape(name).replace(r"\*", "[^.]+"), path) is not None


def shapes_of(found: Description, name: str, half: str) -> set[str]:
    """What comes out of the modules of that name in that half, or the tensors of that name, or in it."""
    shapes = [
        shape
        for layer in found.layers
        for call in CALLS[half]
        if matches(name, layer.name)
        for shape in layer.outputs.get(call, [])
    ]
    shapes += [shape for path, shape in found.tensors.items() if f"{path}.".startswith(f"{name}.")]
    return {shape_of(shape) for shape in shapes}


def test_the_tables_are_the_codes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert renewed(page, measured) == page, "run: python -m models.describe --page docs/networks.md"


def test_there_is_a_table_of_every_size_and_a_drawing_and_a_table_of_every_network() -> None:
    page = PAGE.read_text(encoding="utf-8")
    blocks = [block[1].split() for block in describe.BLOCK.findall(page)]
    known = [(name, registry.get(name).spec.sizes) for name in NETWORKS]
    sized = [[f"{name}:{size}" for size in sizes] if len(sizes) > 1 else [name] for name, sizes in known]
    assert blocks == [sum(sized, []), *([models[0]] for models in sized)]
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == NETWORKS
    assert page.count("```mermaid") == len(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_drawn_is_there(name: str) -> None:
    found, drawing = measured(_first(name)), drawing_of(name)
    assert len(drawing.nodes) <= 20
    for node in drawing.nodes.values():
        assert node.half in CALLS
        for one in node.names:
            assert shapes_of(found, one, node.half), f"{one} does not exist or has no part in it"


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_on_arrows_are_the_codes(name: str) -> None:
    found, drawing = measured(_first(name)), drawing_of(name)
    for start, label, end in drawing.edges:
        assert end in drawing.nodes
        node = drawing.nodes[start]
        real = {shape for one in node.names for shape in shapes_of(found, one, node.half)}
        for line in label.split("<br/>"):
            drawn = SHAPE.findall(line)
            assert drawn, f"an arrow without a shape: {start} → {end}"
            assert set(drawn) <= real, f"{start} → {end}: {line} is none of {sorted(real)}"


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("half", CALLS)
def test_whatever_computes_is_drawn(name: str, half: str) -> None:
    found, drawing = measured(_first(name)), drawing_of(name)
    drawn = [one for node in drawing.nodes.values() if node.half == half for one in node.names]
    for layer in found.layers:
        # What the generator does by itself is arithmetic on codes.
        if layer.name and any(layer.macs.get(call) for call in CALLS[half]):
            parts = layer.name.split(".")
            ways = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
            assert any(matches(one, way) for one in drawn for way in ways), layer.name


def _first(name: str) -> str:
    sizes = registry.get(name).spec.sizes
    return f"{name}:{sizes[0]}" if len(sizes) > 1 else name
