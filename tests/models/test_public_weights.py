"""Published checkpoints, made here in the formats of those who publish: what comes out is what went in."""

import argparse
import hashlib
import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import public_weights
from models.e4e import Encoder
from models.stylegan2 import Discriminator, Generator, styles
from tests.models.checkpoints import filters, persistent, their_code

SIZE = 16

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def generator() -> State:
    return filled(Generator(SIZE))


@pytest.fixture(scope="module")
def discriminator() -> State:
    return filled(Discriminator(SIZE))


@pytest.fixture(scope="module")
def mean() -> Tensor:
    return torch.linspace(-1, 1, 512)


def filled(network: nn.Module) -> State:
    """A state in which no number is what a constructor leaves."""
    torch.manual_seed(0)
    return {
        key: torch.rand_like(value.float()).to(value.dtype) for key, value in network.state_dict().items()
    }


def theirs(key: str) -> str:
    """NVlabs' name of a generator's parameter, read off their layers' order: two convolutions and an RGB
    layer for each size, but one convolution for the first."""
    if match := re.fullmatch(r"style\.(\d+)\.(\w+)", key):
        return f"mapping.fc{int(match[1]) - 1}.{match[2]}"
    if key == "input.input":
        return "synthesis.b4.const"
    if match := re.fullmatch(r"noises\.noise_(\d+)", key):
        number = int(match[1])  # of the convolution, from the first
        return f"synthesis.{block_of_convolution(number)}.noise_const"
    layer, rest = re.fullmatch(r"(conv1|to_rgb1|convs\.\d+|to_rgbs\.\d+)\.(.+)", key).groups()  # type: ignore[union-attr]
    if layer.startswith("to_rgb"):
        side = 4 if layer == "to_rgb1" else 8 * 2 ** int(layer[8:])
        name = f"synthesis.b{side}.torgb"
    else:
        name = f"synthesis.{block_of_convolution(0 if layer == 'conv1' else int(layer[6:]) + 1)}"
    return (
        f"{name}."
        + {
            "conv.weight": "weight",
            "conv.modulation.weight": "affine.weight",
            "conv.modulation.bias": "affine.bias",
            "activate.bias": "bias",
            "bias": "bias",
            "noise.weight": "noise_strength",
        }[rest]
    )


def block_of_convolution(number: int) -> str:
    return "b4.conv1" if number == 0 else f"b{4 * 2 ** ((number + 1) // 2)}.conv{(number + 1) % 2}"


def their_shape(key: str, value: Tensor) -> Tensor:
    """Theirs have fewer sides of one."""
    if key.endswith("noise_strength"):
        return value.reshape(())
    if key.endswith("torgb.bias"):
        return value.flatten()
    if key.endswith(("weight", "const", "noise_const")) and value.dim() > 2:
        return value.squeeze(0).squeeze(0) if key.endswith("noise_const") else value[0]
    return value


def their_discriminator(state: Mapping[str, Tensor]) -> State:
    found: State = {}
    for key, value in state.items():
        if match := re.fullmatch(r"convs\.(\d+)\.(\w+)\.\d\.(\w+)", key):
            side = SIZE // 2 ** (int(match[1]) - 1)
            layer = {"conv1": "conv0", "conv2": "conv1", "skip": "skip"}[match[2]]
            found[f"b{side}.{layer}.{match[3]}"] = value
        elif key.startswith("convs.0."):
            found[f"b{SIZE}.fromrgb.{key[10:]}"] = value
        elif key.startswith("final_conv."):
            found[f"b4.conv.{key[13:]}"] = value
        else:
            number, part = re.fullmatch(r"final_linear\.(\d)\.(\w+)", key).groups()  # type: ignore[union-attr]
            found[f"b4.{('fc', 'out')[int(number)]}.{part}"] = value
    return found


def nvlabs(generator: State, mean: Tensor, discriminator: State | None = None) -> dict[str, Any]:
    """What is pickled, but for the name of the data and such."""
    state = {theirs(key): value for key, value in generator.items()}
    state = {key: their_shape(key, value) for key, value in state.items()}
    entries: dict[str, Any] = {
        "G": None,
        "G_ema": persistent(filters(state) | {"mapping.w_avg": mean}, img_resolution=SIZE),
        "D": None,
        "training_set_kwargs": {"path": "faces.zip"},
    }
    if discriminator is not None:
        entries["D"] = persistent(filters(their_discriminator(discriminator)))
    return entries


def pickled(entries: Any, path: Path, protocol: int = 3) -> Path:
    with their_code():
        path.write_bytes(pickle.dumps(entries, protocol))
    return path


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def refused(read: Any, path: Path) -> str:
    with pytest.raises(ValueError, match=".") as caught:
        read(path)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"{path}: ")
    return said.removeprefix(f"{path}: ")


@pytest.mark.parametrize("protocol", [3, 4])
def test_nvlabs_weights_are_read(
    tmp_path: Path, generator: State, discriminator: State, mean: Tensor, protocol: int
) -> None:
    path = pickled(nvlabs(generator, mean, discriminator), tmp_path / "ffhq.pkl", protocol)
    read = public_weights.read_nvlabs(path)
    assert read.size == SIZE
    assert same(read.generator, generator)
    assert read.discriminator is not None
    assert same(read.discriminator, discriminator)
    assert read.mean is not None
    assert torch.equal(read.mean, mean)
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    Generator(SIZE).load_state_dict(read.generator)
    Discriminator(SIZE).load_state_dict(read.discriminator)


def test_names_are_as_nvlabs_write_them(generator: State) -> None:
    """Those of the paper's configuration, by hand."""
    names = {theirs(key) for key in generator}
    assert {
        "mapping.fc0.weight", "mapping.fc7.bias", "synthesis.b4.const", "synthesis.b4.conv1.affine.weight",
        "synthesis.b4.torgb.affine.bias", "synthesis.b8.conv0.noise_const", "synthesis.b16.torgb.weight",
        "synthesis.b16.conv1.noise_strength",
    } < names  # fmt: skip
    assert len(names) == len(generator)
    assert not any("b4.conv0" in name for name in names)


@pytest.mark.parametrize("zipped", [True, False])
def test_rosinality_weights_are_read(
    tmp_path: Path, generator: State, discriminator: State, mean: Tensor, zipped: bool
) -> None:
    path = tmp_path / "ffhq.pt"
    kernel = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1]))
    entries = {
        "g_ema": generator
        | {"convs.0.conv.blur.kernel": kernel / 16, "to_rgbs.0.upsample.kernel": kernel / 16},
        "d": discriminator | {"convs.1.conv2.0.kernel": kernel / 64},
        "latent_avg": mean,
        "args": argparse.Namespace(size=SIZE),
    }
    torch.save(entries, path, _use_new_zipfile_serialization=zipped)
    read = public_weights.read_rosinality(path)
    assert (read.size, read.sha256) == (SIZE, hashlib.sha256(path.read_bytes()).hexdigest())
    assert same(read.generator, generator)
    assert read.discriminator is not None
    assert same(read.discriminator, discriminator)
    assert read.mean is not None
    assert torch.equal(read.mean, mean)
    torch.save({"g_ema": generator}, path)
    read = public_weights.read_rosinality(path)
    assert read.discriminator is None
    assert read.mean is None


@pytest.fixture(scope="module")
def encoder() -> State:
    """Zeros, but for one key: a whole one is large, and only its names matter."""
    with torch.device("meta"):
        state = Encoder(styles(SIZE)).state_dict()
    found = {key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in state.items()}
    found["styles.3.linear.bias"] = torch.linspace(0, 1, 512)
    return found


def inversion(encoder: State, generator: State, **others: Any) -> dict[str, Any]:
    state = {f"encoder.{key}": value for key, value in encoder.items()}
    state |= {f"decoder.{key}": value for key, value in generator.items()}
    return {"state_dict": state, "opts": {"encoder_type": "Encoder4Editing"}} | others


@pytest.mark.parametrize(("kind", "relative"), [("Encoder4Editing", True), ("GradualStyleEncoder", False)])
def test_encoders_are_read(
    tmp_path: Path, encoder: State, generator: State, mean: Tensor, kind: str, relative: bool
) -> None:
    rows, path = styles(SIZE), tmp_path / "encoder.pt"
    for average, options in (
        (mean, {"encoder_type": kind, "start_from_latent_avg": True}),
        (mean.repeat(rows, 1), argparse.Namespace(encoder_type=kind)),
    ):
        torch.save(inversion(encoder, generator, latent_avg=average, opts=options), path)
        read = public_weights.read_encoder(path)
        assert (read.size, read.relative) == (SIZE, relative)
        assert same(read.generator, generator)
        assert same(read.encoder, encoder)
        assert torch.equal(read.mean, mean.repeat(rows, 1))
        assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_encoder_that_adds_no_mean_has_one_of_nought(
    tmp_path: Path, encoder: State, generator: State
) -> None:
    path = tmp_path / "encoder.pt"
    options = {"encoder_type": "GradualStyleEncoder", "start_from_latent_avg": False}
    torch.save(inversion(encoder, generator, opts=options), path)
    assert torch.equal(public_weights.read_encoder(path).mean, torch.zeros(styles(SIZE), 512))


def test_what_is_no_nvlabs_checkpoint_is_refused(
    tmp_path: Path, generator: State, discriminator: State, mean: Tensor
) -> None:
    def said(entries: Any) -> str:
        return refused(public_weights.read_nvlabs, pickled(entries, tmp_path / "network.pkl"))

    whole = nvlabs(generator, mean, discriminator)
    assert said([1, 2]) == "the file holds no table of names; expected that of a checkpoint"
    assert said({"G": 1}) == "G_ema is missing; it was expected beside G"
    assert "no module of NVlabs' PyTorch code" in said({"G_ema": {"a": 1}})
    assert "no module of NVlabs' PyTorch code" in said(whole | {"D": 1})
    assert said(whole | {"G_ema": persistent({"a.b": mean})}).startswith("synthesis.b8.torgb is missing")
    twice = persistent({"a.b": mean})
    twice.again = twice.a
    assert "no module" in said({"G_ema": twice})

    def changed(**others: Tensor | None) -> str:
        state = {theirs(key): value for key, value in generator.items()}
        state = {key: their_shape(key, value) for key, value in state.items()}
        for name, value in others.items():
            key = name.replace("__", ".")
            state.pop(key, None)
            if value is not None:
                state[key] = value
        return said({"G_ema": persistent(state)})

    assert changed(mapping__fc3__bias=None) == (
        "mapping.fc3.bias is missing; a generator of 16 pixels expects 512 float32 under that key"
    )
    assert changed(mapping__embed__weight=mean) == (
        "mapping.embed.weight is unexpected: a generator of 16 pixels expects no such key"
    )
    assert changed(mapping__fc3__bias=torch.zeros(256)) == (
        "mapping.fc3.bias is 256 float32; a generator of 16 pixels expects 512 float32"
    )
    assert changed(mapping__fc3__bias=mean.cfloat()) == (
        "mapping.fc3.bias is 512 complex64; a generator of 16 pixels expects 512 float32"
    )
    assert "mapping.fc3.bias holds NaN" in changed(mapping__fc3__bias=mean * math.nan)
    assert "is another filter" in changed(synthesis__b8__resample_filter=torch.ones(4, 4))
    assert "latent_avg is no mean w" in changed(mapping__w_avg=torch.zeros(3))


def test_what_is_no_rosinality_checkpoint_is_refused(tmp_path: Path, generator: State, mean: Tensor) -> None:
    path = tmp_path / "network.pt"

    def said(entries: Any) -> str:
        torch.save(entries, path)
        return refused(public_weights.read_rosinality, path)

    assert said(generator).startswith("g_ema is missing; it was expected beside ")
    assert said(mean) == "the file holds no table of names; expected that of a checkpoint"
    assert said({"g_ema": {"input.input": 1}}) == "g_ema: input.input is no plain tensor; expected one"
    assert said({"g_ema": {}}).startswith(
        "to_rgbs.0 is missing; a StyleGAN2 of 8 to 2048 pixels was expected"
    )
    assert said({"g_ema": generator | {"input.input": mean}}) == (
        "input.input is 512 float32; a generator of 16 pixels expects 1×512×4×4 float32"
    )
    assert said({"g_ema": generator, "latent_avg": "mean"}).startswith("latent_avg is no mean w")
    assert said({"g_ema": generator | {"to_rgbs.0.upsample.kernel": torch.eye(4)}}).startswith(
        "to_rgbs.0.upsample.kernel is another filter"
    )
    sparse = {"g_ema": generator | {"style.1.bias": mean.to_sparse()}}
    assert said(sparse) == "g_ema: style.1.bias is no plain tensor; expected one"
    sliced = path.read_bytes()
    path.write_bytes(sliced[: len(sliced) // 2])
    refused(public_weights.read_rosinality, path)


def test_what_is_no_encoder_is_refused(
    tmp_path: Path, encoder: State, generator: State, mean: Tensor
) -> None:
    path = tmp_path / "encoder.pt"

    def said(**others: Any) -> str:
        torch.save(inversion(encoder, generator, latent_avg=mean) | others, path)
        return refused(public_weights.read_encoder, path)

    assert said(opts={"encoder_type": "BackboneEncoderUsingLastLayerIntoW"}).startswith(
        "opts: encoder_type is 'BackboneEncoderUsingLastLayerIntoW'; expected one of Encoder4Editing, Grad"
    )
    assert said(opts=3) == "opts holds no table of names; expected that of a checkpoint"
    assert said(latent_avg=mean[:5]).startswith("latent_avg is no mean w; expected 512 numbers, or 6×512")
    fewer = {key: value for key, value in encoder.items() if not key.startswith("styles.5.")}
    assert re.match(
        r"styles\.5\.[\w.]+ and \d+ more are missing; an encoder of 6 rows expects",
        said(**inversion(fewer, generator)),
    )
