"""What every test gets."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
import torch
from hypothesis import settings

# Random material is drawn the same way in every run, and may take its time on a busy machine.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Results and run times must not depend on how many cores a machine has."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Weights that somebody has fetched on this machine are none of the tests' business."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REENACT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`exported(name, precision)`: the folder of a network of `tests.models.test_contract.NARROW`, exported
    once. Whoever changes it changes a copy."""
    from tests.models.test_contract import narrow  # not for machines that only run the generators
    from trainer.export import export
    from trainer.graphs import graphs_of

    made: dict[tuple[str, str], Path] = {}

    def folder(name: str, precision: Literal["float32", "fp16"] = "float32") -> Path:
        if (name, precision) not in made:
            output = tmp_path_factory.mktemp("exported") / "model"
            told = list(export(narrow(name), output, precision))
            assert [one.graph for one in told] == list(graphs_of(narrow(name)))
            made[name, precision] = output
        return made[name, precision]

    return folder


@pytest.fixture(scope="session")
def exported_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`exported_run(model)`: the folder that the command made of a run's checkpoint, once. Whoever changes it
    changes a copy."""
    from tests.trainer.runs import run_of
    from trainer.export import main

    made: dict[str, Path] = {}

    def folder(model: str) -> Path:
        if model not in made:
            place = tmp_path_factory.mktemp("run")
            run = run_of(model, place / "run")
            assert main([str(run), "--output", str(place / "model")]) == 0
            made[model] = place / "model"
        return made[model]

    return folder


@pytest.fixture
def loopback_ice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let peers in this process find each other on machines without a network: ICE leaves loopback
    addresses out."""
    import aioice.ice  # not on machines that only run the generators

    def addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr(aioice.ice, "get_host_addresses", addresses)


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port of 127.0.0.1 on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]
