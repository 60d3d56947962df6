"""Devices: what a machine is told that has a GPU and a torch that can't use it, and the order of weights."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from realtime import devices
from realtime.devices import choose_device, put_channels_last
from realtime.engine import Engine
from tests.models.test_contract import narrow

OLD_DRIVER = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). Please update "
    "your GPU driver by downloading and installing a new version from the URL: "
    "http://www.nvidia.com/Download/index.aspx Alternatively, go to: https://pytorch.org to install a "
    "PyTorch version that has been compiled with your version of the CUDA driver. (Triggered internally at …)"
)
TOO_OLD = "the NVIDIA driver is too old for this build of torch, which is for CUDA 13.0: update the driver"
UNKNOWN = "CUDA initialization: CUDA unknown error - this may be due to an incorrectly set up environment."
NO_CUDA = "there is an NVIDIA GPU, but this build of torch is without CUDA: install one with it"


class Machine:
    """One whose torch and paths a test sets; without a GPU, and with a torch for the processor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._patch, self._folder = monkeypatch, folder
        self.has("cuda", False)
        self.has("mps", False)
        monkeypatch.setattr(torch.version, "cuda", None)
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setattr(devices, "DRIVER", folder / "nvidia")

    def has(self, kind: str, usable: bool, warning: str = "") -> None:
        def is_available() -> bool:
            if warning:
                warnings.warn(warning, UserWarning, stacklevel=1)
            return usable

        self._patch.setattr(
            getattr(torch.backends, kind) if kind == "mps" else torch.cuda, "is_available", is_available
        )

    def built_for(self, cuda: str) -> None:
        self._patch.setattr(torch.version, "cuda", cuda)

    def add_tool(self) -> None:
        tool = self._folder / "nvidia-smi"
        tool.write_text("#!/bin/sh\n")
        tool.chmod(0o755)

    def add_driver(self) -> None:
        (self._folder / "nvidia").mkdir()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


def chosen(wanted: str, caplog: pytest.LogCaptureFixture) -> tuple[str, list[str]]:
    """The device, and the warnings."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        device = choose_device(wanted)
    return device, [record.getMessage() for record in caplog.records]


def test_a_machine_without_a_gpu_hears_nothing(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    assert chosen("auto", caplog) == ("cpu", [])
    machine.built_for("13.0")
    assert chosen("auto", caplog) == ("cpu", [])
    with pytest.raises(ValueError, match="^device cuda: not there, or this build of torch cannot use it"):
        choose_device("cuda")


@pytest.mark.parametrize("add", [Machine.add_tool, Machine.add_driver])
def test_a_torch_without_cuda_is_told_where_there_is_a_gpu(
    add: Callable[[Machine], None], machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    add(machine)
    device, (warning,) = chosen("auto", caplog)
    assert device == "cpu"
    assert warning.startswith(NO_CUDA)
    assert warning.endswith("; until then everything runs on cpu")
    with pytest.raises(ValueError, match=f"^device cuda: {NO_CUDA}"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (OLD_DRIVER, TOO_OLD),
        (UNKNOWN, "torch cannot use the NVIDIA GPU (CUDA unknown error - this may be due"),
    ],
)
def test_what_torch_says_of_the_driver_is_told_in_one_line(
    said: str, told: str, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """Torch warns, which is an error in these tests wherever it comes through."""
    machine.built_for("13.0")
    machine.has("cuda", False, said)
    device, (warning,) = chosen("auto", caplog)
    assert device == "cpu"
    assert warning.startswith(told)
    assert "\n" not in warning
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the text is compared below)
        choose_device("cuda")
    assert str(error.value).startswith(f"device cuda: {told}")


def test_a_gpu_that_can_be_used_is_taken_and_its_warnings_come_through(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.built_for("13.0")
    machine.add_tool()
    machine.has("cuda", True)
    assert chosen("auto", caplog) == ("cuda", [])
    machine.has("cuda", True, "it is hot")
    with pytest.warns(UserWarning, match="it is hot"):
        assert choose_device("cuda") == "cuda"


def test_only_who_wants_cuda_hears_why_it_is_not_there(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.add_driver()
    assert chosen("cpu", caplog) == ("cpu", [])
    with pytest.raises(ValueError, match="^device mps: not there"):
        choose_device("mps")


def test_a_gpu_that_torch_was_told_to_leave_alone_is_no_trouble(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """As by CUDA_VISIBLE_DEVICES."""
    machine.built_for("13.0")
    machine.add_driver()
    assert chosen("auto", caplog) == ("cpu", [])


def test_weights_are_put_as_tensor_cores_read_them_in_half_precision() -> None:
    flat, deep = torch.nn.Conv2d(4, 8, 3), torch.nn.Conv3d(4, 8, 3)
    expected = flat.weight.clone()
    put_channels_last(torch.nn.Sequential(flat, deep))
    assert flat.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(flat.weight, expected)
    assert deep.weight.is_contiguous()
    for half, lies in ((None, False), (torch.bfloat16, True)):
        engine = Engine(narrow("imf"), half=half)
        weight = next(one for one in engine.generator.parameters() if one.dim() == 4 and min(one.shape) > 1)
        assert weight.is_contiguous(memory_format=torch.channels_last) is lies
