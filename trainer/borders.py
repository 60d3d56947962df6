"""Pictures whose border is repeated outside, in a form that ONNX Runtime is fast with.

On the CPU it has a fast way for `GridSample` that takes zeros outside, and for no other: three to eight times
as fast. With all places held between the centres of the outermost pixels both are the same, since nothing
outside is looked at any more. Versions before 1.25 have no fast way, and lose nothing.
"""

from typing import Any

import numpy as np


def hold_inside(graph: Any) -> None:
    """In an `onnx_ir.Graph`, hold the places of each bilinear `GridSample` inside that repeats its picture's
    border, and have it take zeros outside. Volumes, and pictures with `align_corners`, stay as they are: for
    these there is no fast way."""
    import onnx_ir as ir

    for node in list(graph.all_nodes()):
        if node.op_type != "GridSample" or len(node.inputs[0].shape) != 4 or not _repeats_border(node):
            continue
        picture, places = node.inputs
        height, width = picture.shape[2:]
        # Edges are at −1 and 1. One number where it will do: by twos ONNX Runtime counts slowly.
        furthest = np.array([1 - 1 / width, 1 - 1 / height], places.dtype.numpy())
        if width == height:
            furthest = furthest[:1]
        for kind, numbers in (("Max", -furthest), ("Min", furthest)):
            end = ir.Value(name=f"{node.name}_{kind}_end", const_value=ir.tensor(numbers))
            graph.register_initializer(end)
            held = ir.node(kind, [places, end], name=f"{node.name}_{kind}")
            held.outputs[0].type, held.outputs[0].shape = places.type, places.shape
            graph.insert_before(node, held)
            places = held.outputs[0]
        node.replace_input_with(1, places)
        node.attributes["padding_mode"] = ir.AttrString("padding_mode", "zeros")


def _repeats_border(node: Any) -> bool:
    known = node.attributes
    return (
        known.get_string("padding_mode", "zeros") == "border"
        and known.get_string("mode", "linear") == "linear"
        and not known.get_int("align_corners", 0)
    )
