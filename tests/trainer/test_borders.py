"""Pictures whose border is repeated: the graphs look nothing up outside, and find the same."""

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from torch import Tensor

from trainer.borders import hold_inside


def sampling(picture: Tensor, align_corners: int = 0, **attributes: str) -> onnx.ModelProto:
    """A graph that looks one picture up, two times the same places."""
    settings = {"padding_mode": "border", "align_corners": align_corners, **attributes}
    dims = picture.dim() - 2
    names = [f"p{number}" for number in range(dims)]
    nodes = [
        helper.make_node("GridSample", ["picture", "places"], [name], f"node_{name}", **settings)
        for name in ("one", "other")
    ]
    graph = helper.make_graph(
        nodes,
        "sampling",
        [
            helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["batch", *picture.shape[1:]]),
            helper.make_tensor_value_info("places", TensorProto.FLOAT, ["batch", *names, dims]),
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", picture.shape[1], *names])
            for name in ("one", "other")
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def held(model: onnx.ModelProto) -> onnx.ModelProto:
    found = onnx_ir.from_proto(model)
    hold_inside(found.graph)
    return onnx_ir.to_proto(found)


def paddings(model: onnx.ModelProto) -> list[str]:
    return [
        helper.get_attribute_value(attribute).decode()
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.name == "padding_mode"
    ]


def run(model: onnx.ModelProto, picture: Tensor, places: Tensor) -> list[np.ndarray]:
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"picture": picture.numpy(), "places": places.numpy()})


def thrown(*shape: int, seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (72, 96), (1, 64), (33, 7), (1, 1)])
def test_the_same_is_found_far_outside_and_on_every_edge(height: int, width: int) -> None:
    picture = thrown(2, 3, height, width, seed=0)
    places = thrown(2, 40, 30, 2, seed=1) * 8 - 4
    places[:, :10] = places[:, :10].clamp(-1, 1)
    centres = torch.stack(
        torch.meshgrid(
            (torch.arange(30) % width + 0.5) / width * 2 - 1,
            (torch.arange(10) % height + 0.5) / height * 2 - 1,
            indexing="xy",
        ),
        -1,
    )
    places[:, 10:20] = centres
    places[:, 20, :4] = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [1e30, -1e30], [float("inf"), 0.0]])
    model = held(sampling(picture))
    assert paddings(model) == ["zeros"] * 2
    truth = F.grid_sample(picture, places, align_corners=False, padding_mode="border")
    for found in run(model, picture, places):
        assert np.abs(found - truth.numpy()).max() <= 1e-5


@pytest.mark.parametrize(
    ("dims", "align_corners", "attributes"),
    [
        (2, 1, {}),
        (2, 0, {"mode": "cubic"}),
        (2, 0, {"mode": "nearest"}),
        (2, 0, {"padding_mode": "zeros"}),
        (2, 0, {"padding_mode": "reflection"}),
        (3, 0, {}),
    ],
)
def test_all_else_stays_as_it_was(dims: int, align_corners: int, attributes: dict[str, str]) -> None:
    model = sampling(thrown(2, 3, *[8] * dims, seed=0), align_corners, **attributes)
    assert held(model).graph.node == model.graph.node
