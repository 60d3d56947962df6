"""Weights of the generators, in files that hold numbers and nothing else (safetensors).

    save(network, "imf.safetensors")
    network = load("imf.safetensors")
    network = create("imf:light", "random")    # what a command line asked for

A file's header says whose weights they are: the network's name and size, the crops that it was trained with,
and the SHA-256 of all tensors. What does not fit is refused before anything of it is used.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from models import registry
from models.contract import CropRule, Reenactor, Spec
from models.directions import expected as expected_of

VERSION = 1  # of the header
RANDOM = "random"  # instead of a file: untrained, to see a network run
SEED = 0  # of such parameters, so that everybody sees the same
FIELDS = ("version", "name", "size", "spec", "sha256")  # of the header
FOREIGN = (
    (b"PK\x03\x04", "a zip archive, as torch.save writes them"),
    (b"\x80", "a Python pickle, of which nothing was run"),
    (b"\x89HDF", "an HDF5 file"),
    (b"GGUF", "a GGUF file"),
    (b"<", "a web page"),
)  # what people bring by mistake, by the bytes that it begins with
UNSAID = json.loads(json.dumps(asdict(CropRule(size=0, scale=0))))
HIGHEST_HEADER = 100_000_000  # bytes; safetensors' own limit

Network = Reenactor[Any, Any]


def create(model: str, weights: str | Path | None = None) -> Network:
    """The network of `NAME` or `NAME:SIZE` with its weights: of a file, whose header then says the size, or
    `random` ones, which are always the same; where neither is asked for, those of the cache. Raises
    ValueError where there must be some and are none, where there can't be any, and for what `load` refuses.
    """
    cls, _ = registry.parse(model)
    if weights is None:
        if not cls.spec.needs_weights:
            return registry.make(model)
        if (file := cached(model)).exists():
            return load(file, model)
        if cls.spec.weights_licence is None:
            raise ValueError(f"model {model} needs --weights FILE, or --weights random to try it without")
        raise ValueError(
            f"model {model} has no weights yet: python -m models.fetch {cls.spec.name} gets the public ones; "
            "or give --weights FILE, or --weights random to try it without"
        )
    if not cls.spec.needs_weights:
        raise ValueError(f"model {model} needs no weights: leave --weights out")
    return seeded(model) if str(weights) == RANDOM else load(weights, model)


def seeded(model: str, seed: int = SEED) -> Network:
    """The network of `NAME` or `NAME:SIZE` as its constructor leaves it after `torch.manual_seed(seed)`;
    torch's random numbers go on as if nothing had been. Raises ValueError for an unknown name or size."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        return registry.make(model)


def save(network: Network, path: str | Path) -> None:
    """Write a network's parameters and persistent buffers. The file is there whole or not at all. Raises
    ValueError where a number is not finite, OSError where the file cannot be written."""
    spec = network.spec
    values = (str(VERSION), spec.name, spec.size, json.dumps(_crops(spec)), digest(network.state_dict()))
    save_state(network, path, dict(zip(FIELDS, values, strict=True)))


def save_state(module: nn.Module, path: str | Path, header: Mapping[str, str] = MappingProxyType({})) -> None:
    """The same of any module. header: what the file says of itself."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    # Copies, since safetensors refuses tensors that share memory.
    tensors = {
        key: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for key, tensor in module.state_dict().items()
    }
    with naming(path):
        check_finite(tensors)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(tensors, temporary, {"format": "pt", **header})
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from None
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def load(path: str | Path, network: Network | str | None = None) -> Network:
    """The network whose weights are in that file; with `network`, an instance to be filled, or the `NAME` or
    `NAME:SIZE` that it has to be.

    Raises ValueError, one line that names file, key and what was expected, for anything but whole and finite
    weights of exactly that network; the instance is then as it was.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if isinstance(network, str):
        registry.parse(network)
    with naming(path):
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                model = _whose(header, network)
                target = network if isinstance(network, Reenactor) else seeded(model)
                _check_crops(header, target.spec)
                expected = expected_of(target, file.keys())
                check_keys(file.keys(), expected, f"model {model}")
                tensors = {key: file.get_tensor(key) for key in expected}
        except (SafetensorError, OSError) as error:
            raise ValueError(_trouble(path, error)) from None
        check_shapes(tensors, expected, f"model {model}")
        if (found := digest(tensors)) != header["sha256"]:
            raise ValueError(
                f"damaged: the SHA-256 of its tensors is {found[:12]}…, expected {header['sha256'][:12]}…, "
                "as its header says"
            )
        check_finite(tensors)
    target.load_state_dict(tensors)
    return target


def cached(model: str) -> Path:
    """Where the public weights of `NAME` or `NAME:SIZE` are once `python -m models.fetch` has got them: in
    `$REENACT_CACHE`, else in `reenact` of `$XDG_CACHE_HOME`, else in `~/.cache/reenact`. Raises ValueError
    where there is no home either."""
    own, shared = os.environ.get("REENACT_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(own or Path(shared or "~/.cache", "reenact")).expanduser()
    except RuntimeError:
        raise ValueError("no home directory is known: set REENACT_CACHE to a folder") from None
    return folder / f"{model.replace(':', '-')}.safetensors"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name before what a ValueError says."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over key, type, shape and little-endian bytes of each tensor, in the order of the keys."""
    found = hashlib.sha256()
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        found.update(f"{key} {described(tensor)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def file_sha256(path: Path) -> str:
    """In hexadecimal. Raises OSError where the file can't be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def described(tensor: Tensor) -> str:
    """`64×3×7×7 float32`."""
    shape = "×".join(str(side) for side in tensor.shape) or "one number of"
    return f"{shape} {str(tensor.dtype).removeprefix('torch.')}"


def check_keys(found: Iterable[str], expected: Mapping[str, Tensor], whose: str) -> None:
    """Raises ValueError, naming the first, where keys are missing or too many."""
    there = set(found)
    if missing := [key for key in expected if key not in there]:
        raise ValueError(
            f"{_counted(missing)} missing; {whose} expects {described(expected[missing[0]])} under that key"
        )
    if extra := sorted(there - expected.keys()):
        raise ValueError(f"{_counted(extra)} unexpected: {whose} expects no such key")


def check_shapes(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], whose: str) -> None:
    """Raises ValueError, naming the first key, where a tensor has another shape or type than expected."""
    for key, tensor in expected.items():
        if found[key].shape != tensor.shape or found[key].dtype != tensor.dtype:
            raise ValueError(f"{key} is {described(found[key])}; {whose} expects {described(tensor)}")


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError, naming the first key, where a number is not finite."""
    for key, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{key} holds NaN or infinite numbers; expected are finite ones")


def _counted(keys: list[str]) -> str:
    first = ascii(keys[0][:120])[1:-1]  # a file may hold anything
    return f"{first} is" if len(keys) == 1 else f"{first} and {len(keys) - 1} more are"


def _whose(header: Mapping[str, str], network: Network | str | None) -> str:
    """`NAME` or `NAME:SIZE` of the file's weights, which are `network`'s."""
    version = header.get("version", "")
    if version.isdecimal() and int(version) > VERSION:
        raise ValueError(
            f"written by a newer version of this program (format {version[:9]}; expected at most {VERSION})"
        )
    if absent := [field for field in FIELDS if field not in header]:
        raise ValueError(
            f"not this program's weights: its header has no {absent[0]!r}; expected a file that "
            "models.weights wrote"
        )
    name, size = header["name"], header["size"]
    if name not in registry.names():
        raise ValueError(
            f"weights of {name[:40]!r}; expected one of the models {', '.join(registry.names())}"
        )
    sizes = registry.get(name).spec.sizes
    if size not in sizes:
        raise ValueError(
            f"weights of an unknown size {size[:40]!r} of model {name}; expected one of "
            f"{', '.join(repr(one) for one in sizes)}"
        )
    wanted = _label(network.spec.name, network.spec.size) if isinstance(network, Reenactor) else network
    model = _label(name, size)
    if wanted is not None and wanted not in (name, model):
        raise ValueError(f"weights of model {model}; expected those of {wanted}")
    return model


def _label(name: str, size: str) -> str:
    return f"{name}:{size}" if size else name


def _crops(spec: Spec) -> Any:
    """What a network's weights got used to, as JSON reads it."""
    return json.loads(json.dumps({"source": asdict(spec.source), "driving": asdict(spec.driving)}))


def _check_crops(header: Mapping[str, str], spec: Spec) -> None:
    try:
        crops = json.loads(header["spec"])
        # A field that the file doesn't know yet had what is now its default.
        trained = {side: UNSAID | crops[side] for side in ("source", "driving")}
    except (ValueError, TypeError, LookupError, RecursionError):
        raise ValueError("its header's 'spec' can't be read; expected the two crops") from None
    for side, rule in _crops(spec).items():
        for name in rule | trained[side]:
            if (found := trained[side].get(name)) != rule.get(name):
                raise ValueError(
                    f"trained with a {side} crop whose {name} is {found}; model {spec.name} expects "
                    f"{rule.get(name)}"
                )


def _trouble(path: Path, error: Exception) -> str:
    """Why a file can't be opened as safetensors, in words for its owner."""
    if not path.exists():
        return "there is no such file; expected weights that models.weights wrote"
    if path.is_dir():
        return "a folder; expected a file of weights"
    if isinstance(error, PermissionError):
        return f"can't be read: {error.strerror}"
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(16)
        if not start:
            return "an empty file; expected weights that models.weights wrote"
        length = int.from_bytes(start[:8], "little")
        if start[8:9] == b"{" and length <= HIGHEST_HEADER:
            file.seek(8)
            end = _end(file.read(length)) if 8 + length <= size else length
            if 8 + end > size:
                return f"cut short: {size} bytes, expected at least {8 + end}; copy it again"
            return f"damaged: {error}"
    for magic, name in FOREIGN:
        if start.startswith(magic):
            return f"{name}; expected safetensors that models.weights wrote"
    return "not a safetensors file; expected weights that models.weights wrote"


def _end(header: bytes) -> int:
    """Where the last tensor ends, counted from the header's begin; 0 where the header does not say."""
    try:
        entries = json.loads(header)
        ends = [int(entries[key]["data_offsets"][1]) for key in entries if key != "__metadata__"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return 0
    return len(header) + max(ends, default=0)
