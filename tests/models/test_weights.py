"""Weights' files: what comes back, what is refused, and in which words."""

import hashlib
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from models import registry, weights
from tests.models.tiny import Tiny

KEY = "features.weight"


@pytest.fixture
def network() -> Tiny:
    torch.manual_seed(1)
    made = Tiny("wide")
    made.token[1].running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
    return made


@pytest.fixture
def file(network: Tiny, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    weights.save(network, path)
    return path


def header_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as opened:
        return dict(opened.metadata())


def rewritten(path: Path, header: dict[str, str] | None = None, rehash: bool = True, **changed: Any) -> Path:
    """The file with some header fields and tensors replaced; None takes a tensor away. In keys, `__` is a
    dot."""
    tensors, fields = load_file(path), header_of(path)
    for name, value in changed.items():
        key = name.replace("__", ".")
        tensors.pop(key, None)
        if value is not None:
            tensors[key] = value
    if rehash:
        fields["sha256"] = weights.digest(tensors)
    fields.update(header or {})
    other = path.with_name("changed.safetensors")
    save_file(tensors, other, {name: value for name, value in fields.items() if value})
    return other


def refused(path: Path, network: Any = None) -> str:
    """The reason, which is one line and names the file."""
    with pytest.raises(ValueError, match="expected|expects|cut short") as caught:
        weights.load(path, network)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"{path}: ")
    return said.removeprefix(f"{path}: ")


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    states = a.state_dict(), b.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )


@pytest.mark.parametrize("asked", [None, "tiny", "tiny:wide"])
def test_what_was_saved_comes_back(network: Tiny, file: Path, asked: str | None) -> None:
    """The size is the header's, and buffers are among what is kept."""
    loaded = weights.load(file, asked)
    assert isinstance(loaded, Tiny)
    assert loaded.spec == network.spec
    assert same(loaded, network)
    assert not same(weights.seeded("tiny:wide"), network)


def test_an_instance_is_filled_in_place(network: Tiny, file: Path) -> None:
    other = Tiny("wide")
    parameter = other.features.weight
    assert weights.load(file, other) is other
    assert other.features.weight is parameter
    assert same(other, network)


def test_the_header_says_what_is_in_the_file(network: Tiny, file: Path) -> None:
    header = header_of(file)
    assert (header["name"], header["size"], header["version"]) == ("tiny", "wide", "1")
    assert json.loads(header["spec"])["driving"]["upright"] is True
    found = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        shape = "×".join(map(str, tensor.shape)) or "one number of"
        array = tensor.detach().numpy()
        found.update(f"{key} {shape} {array.dtype.name}\n".encode() + array.tobytes())
    assert header["sha256"] == found.hexdigest()


def test_parameters_that_share_memory_can_be_saved(network: Tiny, tmp_path: Path) -> None:
    network.scale.weight = torch.nn.Parameter(network.linear.weight.detach().T)
    weights.save(network, tmp_path / "tied.safetensors")
    assert same(weights.load(tmp_path / "tied.safetensors"), network)


def test_a_failed_write_leaves_what_was_there(
    network: Tiny, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.read_bytes()

    def full(tensors: Any, path: Path, header: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="no space"):
        weights.save(network, file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_folder_that_is_not_there_is_named(network: Tiny, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"none/tiny\.safetensors: .*No such file"):
        weights.save(network, tmp_path / "none" / "tiny.safetensors")


def test_weights_that_could_not_be_loaded_are_not_written(network: Tiny, tmp_path: Path) -> None:
    network.linear.bias.data[2] = torch.nan
    with pytest.raises(ValueError, match="linear.bias holds NaN"):
        weights.save(network, tmp_path / "nan.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"features__weight": None}, f"{KEY} is missing; model tiny:wide expects 16×3×3×3 float32"),
        ({"features__weight": None, "features__bias": None}, f"{KEY} and 1 more are missing"),
        ({"other__bias": torch.zeros(3)}, "other.bias is unexpected: model tiny:wide expects no such key"),
        ({"features__weight": torch.zeros(16, 3, 3)}, f"{KEY} is 16×3×3 float32; model tiny:wide expects"),
        ({"features__weight": torch.zeros(16, 3, 3, 3).half()}, f"{KEY} is 16×3×3×3 float16; model"),
        ({"features__bias": torch.full((16,), torch.nan)}, "features.bias holds NaN or infinite numbers"),
        ({"features__bias": torch.full((16,), torch.inf)}, "features.bias holds NaN or infinite numbers"),
        ({"features__bias": torch.zeros(16), "rehash": False}, "damaged: the SHA-256 of its tensors is"),
        ({"header": {"version": "2"}}, "by a newer version of this program (format 2; expected at most 1)"),
        ({"header": {"version": ""}}, "not this program's weights: its header has no 'version'"),
        ({"header": {"sha256": ""}}, "not this program's weights: its header has no 'sha256'"),
        ({"header": {"name": "nonesuch"}}, "weights of 'nonesuch'; expected one of the models"),
        ({"header": {"size": "huge"}}, "unknown size 'huge' of model tiny; expected one of 'narrow', 'wide'"),
        ({"header": {"size": "narrow"}}, "model tiny:narrow expects 8×3×3×3 float32"),
        ({"header": {"spec": "[]"}}, "its header's 'spec' can't be read"),
        ({"header": {"spec": "{"}}, "its header's 'spec' can't be read"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(file: Path, changes: dict[str, Any], reason: str) -> None:
    """And an instance stays as it was, though all else in the file fits."""
    path = rewritten(file, **changes)
    assert reason in refused(path)
    if not changes.get("header"):
        other = Tiny("wide")
        before = {key: value.clone() for key, value in other.state_dict().items()}
        assert reason in refused(path, other)
        assert all(torch.equal(other.state_dict()[key], before[key]) for key in before)


def test_weights_that_saw_other_crops_are_refused(file: Path) -> None:
    spec = json.loads(header_of(file)["spec"])
    spec["source"]["scale"] = 2.25
    said = refused(rewritten(file, header={"spec": json.dumps(spec)}))
    assert said == "trained with a source crop whose scale is 2.25; model tiny expects 1.5"
    del spec["source"]["scale"], spec["source"]["shift"]
    said = refused(rewritten(file, header={"spec": json.dumps(spec)}))
    assert said == "trained with a source crop whose scale is 0; model tiny expects 1.5"
    spec["source"] = {"size": 32, "scale": 1.5, "tilt": 3}
    said = refused(rewritten(file, header={"spec": json.dumps(spec)}))
    assert said == "trained with a source crop whose tilt is 3; model tiny expects None"


def test_a_field_that_a_crop_has_gained_since_is_taken_for_its_default(file: Path) -> None:
    spec = json.loads(header_of(file)["spec"])
    spec["source"] = {"size": 32, "scale": 1.5}
    assert weights.load(rewritten(file, header={"spec": json.dumps(spec)})).spec.source.shift == (0.0, 0.0)


def test_weights_of_another_network_or_size_are_refused(file: Path) -> None:
    assert refused(file, "warp") == "weights of model tiny:wide; expected those of warp"
    assert refused(file, "tiny:narrow") == "weights of model tiny:wide; expected those of tiny:narrow"
    assert refused(file, Tiny("narrow")) == "weights of model tiny:wide; expected those of tiny:narrow"


def test_a_file_cut_short_anywhere_is_refused(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    short = tmp_path / "short.safetensors"
    for size in (9, 200, 8 + length, 8 + length + 1, len(data) - 1):
        short.write_bytes(data[:size])
        said = refused(short)
        assert said.startswith(f"cut short: {size} bytes, expected at least "), (size, said)
    whole = len(data)
    short.write_bytes(data[: whole // 2])
    assert f"expected at least {whole};" in refused(short)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "an empty file"),
        (b"\x02", "not a safetensors file"),
        (b"hello world, hello", "not a safetensors file"),
        (b"<!doctype html><title>404</title>", "a web page"),
        (pickle.dumps({"weight": 1}), "a Python pickle, of which nothing was run"),
        (struct.pack("<Q", 2) + b"{}" + b"rest", "damaged"),
        (struct.pack("<Q", 60) + b"{" * 60, "damaged"),
    ],
)
def test_other_files_are_called_what_they_are(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "other"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=reason) as caught:
        weights.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_torch_file_a_folder_and_nothing_are_refused(tmp_path: Path) -> None:
    torch.save({KEY: torch.zeros(3)}, tmp_path / "weights.pt")
    assert "a zip archive, as torch.save writes them" in refused(tmp_path / "weights.pt")
    assert "a folder" in refused(tmp_path)
    assert "there is no such file" in refused(tmp_path / "none")


def test_safetensors_of_others_are_refused(tmp_path: Path) -> None:
    save_file({KEY: torch.zeros(3)}, tmp_path / "bare.safetensors")
    assert "not this program's weights: its header has no 'version'" in refused(tmp_path / "bare.safetensors")


def test_no_bit_can_flip_unnoticed(file: Path, tmp_path: Path) -> None:
    """In the tensors; the header's own bits are checked by its syntax and by what it has to agree with."""
    data = bytearray(file.read_bytes())
    start = 8 + struct.unpack("<Q", data[:8])[0]
    flipped = tmp_path / "flipped.safetensors"
    for at in np.random.default_rng(0).integers(start, len(data), 20):
        data[at] ^= 1
        flipped.write_bytes(data)
        assert "SHA-256" in refused(flipped)
        data[at] ^= 1


def test_random_weights_are_always_the_same_and_leave_other_random_numbers_alone(file: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = weights.create("tiny:wide", "random")
    weights.load(file)
    assert torch.equal(torch.rand(3), expected)
    assert same(first, weights.create("tiny:wide", "random"))
    assert not torch.equal(first.state_dict()[KEY], weights.seeded("tiny:wide", 1).state_dict()[KEY])


def test_what_a_command_line_can_ask_for(network: Tiny, file: Path) -> None:
    assert same(weights.create("tiny", file), network)
    assert same(weights.create("tiny:wide", str(file)), network)
    assert weights.create("warp", None).spec.name == "warp"
    assert weights.create("tiny", "random").spec.size == "narrow"
    assert weights.create("tiny:wide", "random").spec.size == "wide"


@pytest.mark.parametrize(
    ("model", "given", "reason"),
    [
        ("tiny", None, "model tiny needs --weights FILE, or --weights random to try it without"),
        ("warp", "random", "model warp needs no weights: leave --weights out"),
        ("warp", "w.safetensors", "model warp needs no weights: leave --weights out"),
        ("nonesuch", "random", "unknown model 'nonesuch'; known: "),
        ("tiny:huge", "random", "unknown size 'huge' of model tiny; known: tiny:narrow, tiny:wide"),
        ("tiny:huge", None, "unknown size 'huge' of model tiny; known: tiny:narrow, tiny:wide"),
        ("tiny:", "random", "unknown size '' of model tiny"),
        ("warp:big", None, "unknown size 'big' of model warp; known: only warp itself"),
        ("tiny", "none.safetensors", "none.safetensors: there is no such file"),
    ],
)
def test_what_it_cannot(model: str, given: str | None, reason: str) -> None:
    with pytest.raises(ValueError, match="^" + reason.replace("(", r"\(")) as caught:
        weights.create(model, given)
    assert "\n" not in str(caught.value)


def test_a_size_that_contradicts_the_file_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match="weights of model tiny:wide; expected those of tiny:narrow"):
        weights.create("tiny:narrow", file)


def test_the_registry_names_what_it_knows() -> None:
    assert registry.parse("tiny:wide") == (Tiny, "wide")
    assert registry.parse("tiny") == (Tiny, "")
