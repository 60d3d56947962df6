"""Weights that others have published, as state dicts of ours.

| from | file | holds |
|---|---|---|
| NVlabs stylegan2-ada-pytorch | `.pkl` | generator, discriminator, mean w |
| rosinality stylegan2-pytorch | `.pt` | generator, often discriminator and mean w |
| e4e, pSp | `.pt` | encoder, generator, mean w |
| KwaiVGI LivePortrait | five `.pth` | its five networks: `models.liveportrait.public` |

What is read is checked against our own networks: each key there, none left over, each of its shape and
finite. Filters are built, not loaded; where a file holds one, it must be the same. Each function raises
ValueError, one line that names file, key and what was expected. Nothing of a file is run (`models.pickles`).
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models import pickles
from models.e4e import Encoder
from models.layers import binomial
from models.stylegan2 import MAPPING_LAYERS, STYLE, Discriminator, Generator, styles
from models.weights import check_finite, check_keys, check_shapes, file_sha256, naming

State = dict[str, Tensor]

SIDES: list[int] = [4 * 2**block for block in range(10)]  # of a StyleGAN2's features, up to 2048 pixels
RELATIVE = {"Encoder4Editing": True, "GradualStyleEncoder": False}  # type of encoder → rows are differences
FILTERS = ("resample_filter", ".kernel")  # how their keys end


@dataclass(frozen=True)
class StyleGAN2:
    """A published StyleGAN2."""

    size: int  # side of its pictures
    generator: State  # of `models.stylegan2.Generator(size)`
    discriminator: State | None  # of `models.stylegan2.Discriminator(size)`; None where the file has none
    mean: Tensor | None  # 512, the mean w; None where the file has none
    sha256: str  # of the file


@dataclass(frozen=True)
class Inversion:
    """A published encoder into a StyleGAN2's W+, and that StyleGAN2's generator."""

    size: int
    encoder: State  # of `models.e4e.Encoder(styles(size), relative)`
    relative: bool
    generator: State
    mean: Tensor  # L×512, what is to be added to the encoder's code
    sha256: str


def read_nvlabs(path: str | Path) -> StyleGAN2:
    """An NVlabs `.pkl`, its averaged generator. Raises ValueError for what is none, for networks with
    classes, and for others than configuration F."""
    path = Path(path)
    found = pickles.objects(path)
    with naming(path):
        entries = mapping(found, "the file")
        generator, mean = nvlabs_generator(_flat(entry(entries, "G_ema"), "G_ema"))
        critic = None
        if entries.get("D") is not None:
            critic = nvlabs_discriminator(_flat(entries["D"], "D"))
    return StyleGAN2(_size(generator), generator, critic, mean, file_sha256(path))


def read_rosinality(path: str | Path) -> StyleGAN2:
    """A rosinality `.pt`, its averaged generator. Raises ValueError for what is none."""
    path = Path(path)
    found = pickles.tensors(path)
    with naming(path):
        entries = mapping(found, "the file")
        generator = rosinality_generator(plain(entry(entries, "g_ema"), "g_ema"))
        size = _size(generator)
        critic = None
        if entries.get("d") is not None:
            state = _without_filters(plain(entries["d"], "d"))
            critic = fitted(state, _reference(Discriminator, size), f"a discriminator of {size} pixels")
        mean = entries.get("latent_avg")
        if mean is not None:
            mean = _mean(mean, 1)[0]
    return StyleGAN2(size, generator, critic, mean, file_sha256(path))


def read_encoder(path: str | Path) -> Inversion:
    """An e4e or pSp `.pt`. Raises ValueError for what is none, and for the other encoders of that code."""
    path = Path(path)
    found = pickles.tensors(path)
    with naming(path):
        entries = mapping(found, "the file")
        state = plain(entry(entries, "state_dict"), "state_dict")
        options = entry(entries, "opts")
        options = mapping(vars(options) if isinstance(options, argparse.Namespace) else options, "opts")
        kind = options.get("encoder_type")
        if kind not in RELATIVE:
            raise ValueError(f"opts: encoder_type is {kind!r}; expected one of {', '.join(RELATIVE)}")
        generator = rosinality_generator(_part(state, "decoder."))
        rows = styles(_size(generator))
        encoder = fitted(_part(state, "encoder."), _reference(Encoder, rows), f"an encoder of {rows} rows")
        mean = torch.zeros(rows, STYLE)
        if options.get("start_from_latent_avg", True):
            mean = _mean(entry(entries, "latent_avg"), rows)
    return Inversion(_size(generator), encoder, RELATIVE[kind], generator, mean, file_sha256(path))


def rosinality_generator(state: Mapping[str, Tensor]) -> State:
    """A generator's state, checked. Raises ValueError, naming the key, for what does not fit."""
    size = _size(state)
    return fitted(_without_filters(state), _reference(Generator, size), f"a generator of {size} pixels")


def nvlabs_generator(state: Mapping[str, Tensor]) -> tuple[State, Tensor | None]:
    """A generator's state under our keys, checked, and the mean w where there is one. Raises ValueError,
    naming the key, for what does not fit."""
    state = _without_filters(state)
    mean = state.pop("mapping.w_avg", None)
    blocks = [block for block, side in enumerate(SIDES) if f"synthesis.b{side}.torgb.bias" in state]
    size = SIDES[max(blocks, default=0)]
    _check_size(size, "synthesis.b8.torgb")
    keys = {"synthesis.b4.const": "input.input"}
    for layer in range(MAPPING_LAYERS):
        for part in ("weight", "bias"):
            keys[f"mapping.fc{layer}.{part}"] = f"style.{layer + 1}.{part}"
    for block, side in enumerate(SIDES[: SIDES.index(size) + 1]):
        # A block's place among our lists; the first has only one convolution.
        ours = (
            {"conv0": f"convs.{2 * block - 2}", "conv1": f"convs.{2 * block - 1}"}
            if block
            else {"conv1": "conv1"}
        )
        for number, (theirs, convolution) in enumerate(ours.items()):
            noise = f"noises.noise_{2 * block - 1 + number if block else 0}"
            keys |= _convolution(f"synthesis.b{side}.{theirs}", convolution, f"{convolution}.activate.bias")
            keys[f"synthesis.b{side}.{theirs}.noise_strength"] = f"{convolution}.noise.weight"
            keys[f"synthesis.b{side}.{theirs}.noise_const"] = noise
        to_rgb = f"to_rgbs.{block - 1}" if block else "to_rgb1"
        keys |= _convolution(f"synthesis.b{side}.torgb", to_rgb, f"{to_rgb}.bias")
    found = fitted(state, _reference(Generator, size), f"a generator of {size} pixels", keys)
    return found, None if mean is None else _mean(mean, 1)[0]


def nvlabs_discriminator(state: Mapping[str, Tensor]) -> State:
    """A discriminator's state under our keys, checked. Raises ValueError, naming the key, for what does not
    fit."""
    size = max((side for side in SIDES if f"b{side}.fromrgb.weight" in state), default=4)
    _check_size(size, "b8.fromrgb")
    keys = {f"b{size}.fromrgb.weight": "convs.0.0.weight", f"b{size}.fromrgb.bias": "convs.0.1.bias"}
    for index, side in enumerate(reversed(SIDES[1 : SIDES.index(size) + 1]), 1):
        keys |= {
            f"b{side}.conv0.weight": f"convs.{index}.conv1.0.weight",
            f"b{side}.conv0.bias": f"convs.{index}.conv1.1.bias",
            f"b{side}.conv1.weight": f"convs.{index}.conv2.1.weight",
            f"b{side}.conv1.bias": f"convs.{index}.conv2.2.bias",
            f"b{side}.skip.weight": f"convs.{index}.skip.1.weight",
        }
    for theirs, weight, bias in (
        ("conv", "final_conv.0", "final_conv.1"),
        ("fc", "final_linear.0", "final_linear.0"),
        ("out", "final_linear.1", "final_linear.1"),
    ):
        keys |= {f"b4.{theirs}.weight": f"{weight}.weight", f"b4.{theirs}.bias": f"{bias}.bias"}
    reference = _reference(Discriminator, size)
    return fitted(_without_filters(state), reference, f"a discriminator of {size} pixels", keys)


def _convolution(theirs: str, ours: str, bias: str) -> dict[str, str]:
    """The keys of a modulated convolution."""
    return {
        f"{theirs}.weight": f"{ours}.conv.weight",
        f"{theirs}.bias": bias,
        f"{theirs}.affine.weight": f"{ours}.conv.modulation.weight",
        f"{theirs}.affine.bias": f"{ours}.conv.modulation.bias",
    }


def _size(generator: Mapping[str, Tensor]) -> int:
    """The side of the pictures of a generator with our keys."""
    blocks = 0
    while blocks < len(SIDES) - 1 and f"to_rgbs.{blocks}.bias" in generator:
        blocks += 1
    _check_size(SIDES[blocks], "to_rgbs.0")
    return SIDES[blocks]


def _check_size(size: int, key: str) -> None:
    if size < SIDES[1]:
        raise ValueError(f"{key} is missing; a StyleGAN2 of {SIDES[1]} to {SIDES[-1]} pixels was expected")


def _reference(network: type[nn.Module], size: int) -> State:
    """Keys, shapes and types that a network has, without its numbers."""
    with torch.device("meta"):
        return dict(network(size).state_dict())


def fitted(
    state: Mapping[str, Tensor], reference: State, whose: str, keys: Mapping[str, str] | None = None
) -> State:
    """The state under our keys, once it is found to be complete, of the network's shapes, and finite. Sides
    of one may be left out or added. keys: theirs → ours, where they differ. Raises ValueError, naming the
    key, for what does not fit."""
    keys = keys or {key: key for key in reference}
    expected = {theirs: reference[ours] for theirs, ours in keys.items()}
    check_keys(state, expected, whose)
    found = {key: _like(state[key], tensor) for key, tensor in expected.items()}
    check_shapes(found, expected, whose)
    check_finite(found)
    return {keys[key]: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in found.items()}


def _like(tensor: Tensor, reference: Tensor) -> Tensor:
    """The tensor in the reference's shape and type, where they say the same."""
    if tensor.is_floating_point() and reference.is_floating_point():
        tensor = tensor.to(reference.dtype)
    if [side for side in tensor.shape if side > 1] == [side for side in reference.shape if side > 1]:
        tensor = tensor.reshape(reference.shape)
    return tensor


def _flat(module: Any, name: str) -> State:
    """Parameters and buffers of a module and of those inside it, keyed as PyTorch does."""
    found: State = {}
    seen: set[int] = set()
    waiting = [("", module)]
    while waiting:
        prefix, part = waiting.pop()
        if not isinstance(part, pickles.Module) or id(part) in seen:
            raise ValueError(f"{name}.{prefix} is no module of NVlabs' PyTorch code")
        seen.add(id(part))
        for kind in ("_parameters", "_buffers"):
            held = mapping(part.state.get(kind), f"{name}.{prefix}{kind}")
            there = {f"{prefix}{key}": value for key, value in held.items() if value is not None}
            found |= plain(there, name)
        inside = mapping(part.state.get("_modules"), f"{name}.{prefix}_modules")
        waiting += [(f"{prefix}{key}.", value) for key, value in inside.items()]
    return found


def _without_filters(state: Mapping[str, Tensor]) -> State:
    """All but the filters, once those are found to be StyleGAN2's."""
    expected = binomial(1.0)
    for key, tensor in state.items():
        if key.endswith(FILTERS) and (
            tensor.shape != expected.shape
            or not torch.allclose(tensor.float() / tensor.float().sum(), expected, atol=1e-5)
        ):
            raise ValueError(f"{key} is another filter; expected StyleGAN2's, (1, 3, 3, 1) both ways")
    return {key: tensor for key, tensor in state.items() if not key.endswith(FILTERS)}


def _mean(tensor: Any, rows: int) -> Tensor:
    """rows×512, of one row or of so many."""
    if not isinstance(tensor, Tensor) or tensor.numel() not in (STYLE, rows * STYLE):
        raise ValueError(f"latent_avg is no mean w; expected {STYLE} numbers, or {rows}×{STYLE}")
    check_finite({"latent_avg": tensor})
    return tensor.detach().float().reshape(-1, STYLE).repeat(rows * STYLE // tensor.numel(), 1)


def _part(state: State, prefix: str) -> State:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def entry(entries: Mapping[str, Any], key: str) -> Any:
    """What is under that key. Raises ValueError where there is nothing."""
    if key not in entries:
        known = ", ".join(str(name)[:40] for name in list(entries)[:9]) or "nothing"
        raise ValueError(f"{key} is missing; it was expected beside {known}")
    return entries[key]


def mapping(found: Any, name: str) -> Mapping[str, Any]:
    """What was found, once it is seen to be a table of names. Raises ValueError where it is none."""
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ValueError(f"{name} holds no table of names; expected that of a checkpoint")
    return found


def plain(found: Any, name: str) -> State:
    """What was found, once it is seen to be a state dict. Raises ValueError where it is none."""
    entries = mapping(found, name)
    for key, value in entries.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
            raise ValueError(f"{name}: {key} is no plain tensor; expected one")
    return {key: value.detach() for key, value in entries.items()}
