"""What half precision does to LivePortrait's picture, with the fixtures' weights and pictures."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tests.material import shared_folder
from tests.parity import liveportrait
from tests.parity.golden import Golden

LEAST_DB = 40.0


class AsOnAGpu(TorchFunctionMode):
    """Autocast's convolutions and products as tensor cores make them, fast on a CPU: of inputs rounded to the
    half type, summed in float32, and rounded once more. A CPU's own bfloat16 in three dimensions takes ten
    minutes a frame.
    """

    PRODUCTS = (
        torch.conv2d,
        torch.conv3d,
        F.linear,
        torch.einsum,
        torch.matmul,
        Tensor.matmul,
        Tensor.__matmul__,
    )

    def __init__(self) -> None:
        super().__init__()
        self.rounded = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in self.PRODUCTS or not torch.is_autocast_enabled("cpu"):
            return func(*args, **kwargs)
        half = torch.get_autocast_dtype("cpu")
        self.rounded += 1
        with torch.autocast("cpu", enabled=False):
            found: Tensor = func(*(rounded(one, half) for one in args), **kwargs)
        return found.to(half)


def rounded(value: Any, half: torch.dtype) -> Any:
    return value.to(half).float() if isinstance(value, Tensor) and value.is_floating_point() else value


@pytest.mark.slow
def test_half_precision_is_hardly_seen() -> None:
    golden = Golden(str(shared_folder("golden") / "public"), "lp_chain")
    torch.set_num_threads(2)
    with torch.inference_mode():
        net = liveportrait.whole(golden)
        plain = liveportrait.pictures(net, golden)
        for half in (torch.float16, torch.bfloat16):
            with AsOnAGpu() as products, torch.autocast("cpu", half):
                found = liveportrait.pictures(net, golden)
            assert products.rounded > 100
            error = (found - plain).square().mean((1, 2, 3))
            least = float(-10 * error.log10().max())
            print(f"{half}: {least:.1f} dB")
            assert least > LEAST_DB


def test_products_are_rounded_as_tensor_cores_round() -> None:
    made = torch.Generator().manual_seed(0)
    x, weight = torch.randn(1, 8, 9, 9, generator=made), torch.randn(4, 8, 3, 3, generator=made)
    with AsOnAGpu() as products:
        assert torch.equal(F.conv2d(x, weight), torch.conv2d(x, weight))
        with torch.autocast("cpu", torch.bfloat16):
            found = F.conv2d(x, weight)
    assert products.rounded == 1
    assert found.dtype == torch.bfloat16
    expected = F.conv2d(x.bfloat16().double(), weight.bfloat16().double())
    assert torch.equal(found, expected.bfloat16())
