"""Other people's checkpoints, which are pickles: read without running anything that they ask for.

`tensors` reads what `torch.save` wrote, through torch's own unpickler for weights. `objects` reads what
NVlabs' StyleGAN2 wrote with plain pickle: whole modules that bring their own source code, which is left
alone; of a module there remain its class's name and its state.

A pickle is a program: it names callables and has them called. Only those of `TYPES` and `DOORS` can be named
here, and none of them does more than make a value. Both functions raise ValueError, one line that names the
file, for what asks for more and for what is damaged.
"""

import argparse
import io
import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

NUMBERS = re.compile(r"[?bhilqBHILQefd]|[biuf][1248]")  # numpy's type codes of single numbers
NAMED = re.compile(r"GLOBAL (\S+)")  # in the words of torch's unpickler


class Refused(Exception):
    """A pickle that asks for more than values. Its message says for what."""


@dataclass(frozen=True)
class Module:
    """What there was of an object of NVlabs' code: nothing that could run."""

    class_name: str
    state: Mapping[str, Any]

    def __setstate__(self, state: object) -> NoReturn:
        raise Refused("asks to change an object after it was made")


class Record(dict[Any, Any]):
    """In place of OrderedDict and of NVlabs' EasyDict."""

    def __setstate__(self, state: object) -> None:
        """Attributes, which nobody asks for, are left out."""


class Door:
    """A callable that a pickle may name. It has no attributes that a pickle could change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> NoReturn:
        raise Refused("asks to change a function")


class NumberType:
    """In place of numpy.dtype: a number's type code and the order of its bytes."""

    def __init__(self, code: str, *_: Any) -> None:
        if not isinstance(code, str) or not NUMBERS.fullmatch(code):
            raise Refused("asks for an array type that weights never need")
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"


def _module(meta: Mapping[str, Any]) -> Module:
    return Module(str(meta["class_name"]), Record(meta["state"]))


def _storage(data: bytes) -> Any:
    found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(found, torch.storage.TypedStorage):
        raise Refused("holds something else where a tensor's numbers should be")
    return found


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    # An empty tensor first: unlike as_strided, torch's rebuilder would enlarge a storage that is too small.
    rebuild: Callable[..., Tensor] = torch._utils._rebuild_tensor_v2
    empty = rebuild(storage, 0, (0,), (1,), False, None)
    return empty.as_strided(size, stride, offset)


def _parameter(data: Tensor, *_: Any) -> Tensor:
    return data


def _number(kind: NumberType, data: bytes) -> Any:
    return np.frombuffer(data, kind.order + kind.code, count=1)[0].item()


# These are types, which a pickle may also make without a call.
TYPES = {
    "collections.OrderedDict": Record,
    "dnnlib.util.EasyDict": Record,
    "builtins.set": set,
    "__builtin__.set": set,
}
DOORS: dict[str, Callable[..., Any]] = {
    "torch_utils.persistence._reconstruct_persistent_obj": _module,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.storage._load_from_bytes": _storage,
    "numpy.dtype": NumberType,
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
}


class Unpickler(pickle.Unpickler):
    """Knows `TYPES` and `DOORS`, and nothing else."""

    def find_class(self, module: str, name: str, /) -> Any:
        wanted = f"{module}.{name}"
        if wanted in TYPES:
            return TYPES[wanted]
        if wanted not in DOORS:
            raise Refused(f"asks for {_quoted(wanted)}, which weights never need")
        return Door(DOORS[wanted])

    def persistent_load(self, key: Any, /) -> NoReturn:
        raise Refused("asks for an object from outside the file")


def objects(path: Path) -> Any:
    """What plain pickle wrote, as numbers, strings, containers, tensors and `Module`s."""
    with _opened(path) as file:
        return _guarded(path, lambda: Unpickler(file).load())


def tensors(path: Path) -> Any:
    """What `torch.save` wrote of numbers, strings, containers, tensors and argparse's namespaces."""

    def read() -> Any:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # of the kind of file, before it is refused
            return torch.load(file, map_location="cpu", weights_only=True)

    with _opened(path) as file:
        return _guarded(path, read)


def _opened(path: Path) -> io.BufferedReader:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: can't be read: {error.strerror}") from None


def _guarded(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Refused as error:
        raise ValueError(f"{path}: {error}; nothing of it was run") from None
    except Exception as error:  # a damaged pickle may raise anything
        if named := NAMED.search(str(error)):
            raise ValueError(
                f"{path}: asks for {_quoted(named[1])}, which weights never need; nothing of it was run"
            ) from None
        first = f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0]
        raise ValueError(f"{path}: no checkpoint of plain weights, or damaged ({_quoted(first)})") from None


def _quoted(name: str) -> str:
    """Words that a file may have chosen, fit for one line."""
    return ascii(name[:120])[1:-1]
