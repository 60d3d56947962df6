"""Counts against sums by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tests.models.tiny  # noqa: F401  (registers the network `tiny`)
from models.describe import describe
from models.work import Traffic, WholeAttention, Work, work
from tests.models.tiny import SIDE, TOKEN


def moved(module: nn.Module, *inputs: Tensor) -> int:
    """Numbers read and written."""
    traffic = Traffic()
    with torch.no_grad(), traffic:
        module(*inputs)
    return traffic.numbers


@pytest.mark.parametrize("batch", [1, 5])
def test_a_layer_reads_its_weights_once(batch: int) -> None:
    pictures = torch.rand(batch, 3, 16, 16)
    assert moved(nn.Conv2d(3, 8, 3, 2, 1), pictures) == batch * (3 * 16 * 16 + 8 * 8 * 8) + 8 * 3 * 9 + 8
    assert moved(nn.Linear(10, 5), torch.rand(batch, 10)) == batch * (10 + 5) + 10 * 5 + 5


def test_what_does_not_multiply_is_done_on_the_way() -> None:
    normed = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.InstanceNorm2d(2), nn.ReLU())
    assert moved(normed, torch.rand(1, 2, 4, 4)) == 2 * 2 * 16 + 4


def test_what_is_only_repeated_is_read_once() -> None:
    one = torch.rand(1, 3, 4, 4)
    assert moved(nn.Conv2d(3, 1, 1, bias=False), one.expand(6, -1, -1, -1)) == 3 * 16 + 3 + 6 * 16


@pytest.mark.parametrize("device", ["cpu", "meta"])  # attention is one operation here, several there
def test_scores_of_attention_need_not_be_written(device: str) -> None:
    query, key = torch.rand(2, 4, 50, 8, device=device), torch.rand(2, 4, 70, 8, device=device)
    traffic = Traffic()
    with torch.no_grad(), traffic, WholeAttention(traffic):
        F.scaled_dot_product_attention(query, key, key)
    assert traffic.numbers == 2 * query.numel() + 2 * key.numel()


@pytest.mark.parametrize("batch", [1, 8])
def test_the_work_of_a_network(batch: int) -> None:
    described, width, places = describe("tiny"), 8, SIDE * SIDE
    token = 3 * places + width * places // 16  # of each, as the others are: what goes in and comes out
    linear, scale, picture = width + TOKEN, TOKEN + width, width * places + 3 * places
    weights = width * 3 * 16 + width + width * TOKEN + TOKEN + TOKEN * width + width + 3 * width + 3
    assert work("tiny", batch) == Work(
        batch * (described.macs("structure") + described.macs("decode")),
        batch * (token + linear + scale + picture) + weights,
    )


def test_a_frame_begins_with_what_is_read_and_ends_in_a_picture() -> None:
    """However little is multiplied. `warp` is run for that, as it prepares portraits on the host."""
    tensors = describe("warp").tensors
    appearance = sum(math.prod(shape) for name, shape in tensors.items() if name.startswith("appearance."))
    pictures = sum(math.prod(tensors[name]) for name in ("rgb", "driving.image", "driving.points"))
    one = work("warp", 1)
    assert pictures < one.numbers <= pictures + appearance + math.prod(tensors["alpha"])
    assert one.numbers < work("warp", 2).numbers <= 2 * one.numbers


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown model 'nonesuch'"):
        work("nonesuch", 1)
