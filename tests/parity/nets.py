"""What the comparisons share: networks filled by the recipe, and what they and their insides give."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tests.parity.golden import Golden

N = TypeVar("N", bound=nn.Module)
Row = tuple[Any, ...]  # name, ok, largest error, its tolerance, root mean square error, its tolerance


def rows_of(folder: Path | str, checks: Mapping[str, Callable[[Golden], dict[str, Any]]]) -> list[Row]:
    """A row for each output and tap of those networks whose fixture is in the folder, `net:` before the name.
    checks: what gives all of them, by network.
    """
    found = []
    for net, check in checks.items():
        if (Path(folder) / f"{net}.json").exists():
            golden = Golden(str(folder), net)
            with torch.inference_mode():
                got = check(golden)
            missing = set(golden.outputs(taps=True)) - set(got)
            assert not missing, f"{net}: nothing to compare with {sorted(missing)}"
            found += [(f"{net}:{name}", *row) for name, *row in golden.compare(got)]
    return found


def state_of(golden: Golden, part: str | None = None) -> dict[str, Tensor]:
    """The recipe's parameters, by the originals' keys."""
    return {key: torch.from_numpy(value) for key, value in golden.params(part).items()}


def filled(net: N, golden: Golden) -> N:
    net.load_state_dict(state_of(golden))
    return net.eval()


def given(golden: Golden, name: str) -> Tensor:
    """An input."""
    return torch.from_numpy(golden.inputs()[f"{golden.net}.{name}"])


def listened(net: nn.Module, golden: Golden, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Where the outputs of the inner modules that the fixture holds will be, of each one's first call. names:
    ours, by the originals', where they differ.
    """
    got: dict[str, Any] = {}

    def listen(tap: str, module: nn.Module) -> None:
        def keep(_: nn.Module, __: Any, output: Tensor) -> None:
            got.setdefault(tap, output.clone())

        module.register_forward_hook(keep)

    for tap in golden.outputs(taps=True):
        if tap.startswith("tap:"):
            name = tap.removeprefix("tap:")
            listen(tap, net.get_submodule(names[name] if names else name))
    return got
