"""Checkpoints that would do harm: every one of them does, where it is loaded in good faith, and none here."""

import argparse
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import pickles, weights
from tests.models.checkpoints import EasyDict, persistent, their_code


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


class InBytes:
    """A tensor's numbers, as torch pickles them outside its own files, with a trap among them."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> Any:
        return torch.storage._load_from_bytes, (self.data,)


class Elsewhere(pickle.Pickler):
    """Writes every bytearray as an object from outside, whose name is a trap."""

    def __init__(self, file: io.BytesIO, name: Any) -> None:
        super().__init__(file, 2)
        self.name = name

    def persistent_id(self, found: Any) -> Any:
        return self.name if isinstance(found, bytearray) else None


def plain(found: Any, protocol: int = 3) -> bytes:
    with their_code():
        return pickle.dumps(found, protocol)


def saved(found: Any, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(found, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def with_a_name(name: Any) -> bytes:
    file = io.BytesIO()
    Elsewhere(file, name).dump({"g_ema": bytearray(b"x")})
    return file.getvalue()


def zipped(data: bytes, **others: bytes) -> bytes:
    """others: pickles beside the data."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, contents in {"data": data, **others}.items():
            archive.writestr(f"archive/{name}.pkl", contents)
        archive.writestr("archive/version", b"3\n")
    return file.getvalue()


def tarred(data: bytes) -> bytes:
    """The format of torch before 0.2."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, contents in {
            "storages": pickle.dumps(0) + pickle.dumps([]),
            "tensors": pickle.dumps(0),
            "pickle": data,
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(contents)
            archive.addfile(entry, io.BytesIO(contents))
    return file.getvalue()


def dotted(folder: Path) -> bytes:
    """torch.os.mkdir: a function by way of a module that looks harmless."""
    text = str(folder).encode()
    return b"\x80\x04\x8c\x05torch\x8c\x08os.mkdir\x93X" + struct.pack("<I", len(text)) + text + b"\x85R."


def module_state(folder: Path) -> bytes:
    return plain({"G_ema": persistent({"w_avg": torch.zeros(2)}, act_gain=Trap(folder))})


PICKLES: dict[str, Callable[[Path], bytes]] = {
    "at the top": lambda folder: plain(Trap(folder)),
    "at the top, protocol 0": lambda folder: plain(Trap(folder), 0),
    "at the top, protocol 5": lambda folder: plain(Trap(folder), 5),
    "in a module's state": module_state,
    "in a record": lambda folder: plain({"training_set_kwargs": EasyDict(path=Trap(folder))}),
    "in a tensor's bytes": lambda folder: plain({"G_ema": InBytes(saved(Trap(folder)))}),
    "in a tensor's bytes, older": lambda folder: plain({"G_ema": InBytes(saved(Trap(folder), False))}),
    "in the name of an outside object": lambda folder: with_a_name(Trap(folder)),
    "by a dotted name": dotted,
}
TORCH_FILES: dict[str, Callable[[Path], bytes]] = {
    "zip": lambda folder: saved({"g_ema": {"input.input": Trap(folder)}}),
    "before zip": lambda folder: saved({"g_ema": {"input.input": Trap(folder)}}, False),
    "tar": lambda folder: tarred(pickle.dumps(Trap(folder))),
    "in a namespace": lambda folder: saved({"args": argparse.Namespace(lr=Trap(folder))}),
    "in a storage's name": lambda folder: zipped(with_a_name(("storage", Trap(folder), "0", "cpu", 1))),
    "in a tensor's bytes": lambda folder: zipped(pickle.dumps(InBytes(saved(Trap(folder), False)), 2)),
}


class Trusting(pickle.Unpickler):
    def persistent_load(self, name: Any) -> Any:
        return name


def trusting_pickle(data: bytes) -> None:
    with their_code():
        Trusting(io.BytesIO(data)).load()


def trusting_torch(data: bytes, path: Path) -> None:
    path.write_bytes(data)  # the tar format wants a file
    with suppress(AttributeError, TypeError):  # of what comes after the trap
        torch.load(path, weights_only=False)


def refused(read: Callable[[Path], Any], path: Path) -> str:
    with pytest.raises(ValueError, match=".") as caught:
        read(path)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"{path}: ")
    assert said.isprintable()
    assert len(said) < 300
    return said


@pytest.mark.parametrize("kind", PICKLES)
def test_a_pickle_that_would_act_is_refused(tmp_path: Path, kind: str) -> None:
    trap, path = tmp_path / "trap", tmp_path / "network.pkl"
    data = PICKLES[kind](trap)
    trusting_pickle(data)
    assert trap.exists()
    trap.rmdir()
    path.write_bytes(data)
    said = refused(pickles.objects, path)
    assert said.endswith("; nothing of it was run")
    assert "mkdir" in said
    for read in (pickles.tensors, weights.load):
        refused(read, path)
    assert not trap.exists()


@pytest.mark.parametrize("kind", TORCH_FILES)
def test_a_torch_file_that_would_act_is_refused(tmp_path: Path, kind: str) -> None:
    trap, path = tmp_path / "trap", tmp_path / "network.pt"
    data = TORCH_FILES[kind](trap)
    trusting_torch(data, path)
    assert trap.exists()
    trap.rmdir()
    for read in (pickles.tensors, weights.load):
        refused(read, path)
    with suppress(ValueError):  # of the formats before zip, the first thing is a harmless number
        assert isinstance(pickles.objects(path), int)
    assert not trap.exists()
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_values_are_read(tmp_path: Path, protocol: int) -> None:
    """Of every kind that those files hold."""
    weight = torch.arange(24.0).view(2, 3, 4)
    found = {
        "plain": [1, 2.5, "three", None, True, (4,), {5}],
        "record": EasyDict(a=1),
        "ordered": OrderedDict(b=2),
        "gain": np.sqrt(np.float64(2)),
        "count": np.int64(7),
        "half": np.float16(0.5),
        "big": np.array(1.5, ">f4")[()],
        "weight": weight,
        "view": weight[1, :, ::2],
        "parameter": torch.nn.Parameter(weight.half()),
    }
    if protocol == 2:  # in which bytes are a call that nobody needs
        found = {name: found[name] for name in ("plain", "record", "ordered")}
    path = tmp_path / "values.pkl"
    path.write_bytes(plain(found, protocol))
    read = pickles.objects(path)
    assert read.keys() == found.keys()
    for name, value in found.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(read[name], value)
            assert read[name].dtype == value.dtype
        else:
            assert read[name] == value
            assert not isinstance(read[name], np.generic)


def test_a_module_is_a_name_and_a_state(tmp_path: Path) -> None:
    """Its source is not run, though the rest of the file is as it should be."""
    trap, path = tmp_path / "trap", tmp_path / "network.pkl"
    module = persistent({"mapping.w_avg": torch.ones(3)}, z_dim=512)
    module.source = f"import os\nos.mkdir({str(trap)!r})\n"
    data = plain({"G_ema": module})
    trusting_pickle(data)
    assert trap.exists()
    trap.rmdir()
    path.write_bytes(data)
    read = pickles.objects(path)["G_ema"]
    assert not trap.exists()
    assert (read.class_name, read.state["z_dim"]) == ("Generator", 512)
    inner = read.state["_modules"]["mapping"]
    assert inner.state["act_gain"] == 2**0.5
    assert torch.equal(inner.state["_buffers"]["w_avg"], torch.ones(3))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x03",
        b"not a pickle at all",
        plain({"a": 1})[:-3],
        plain({"weight": torch.zeros(4)})[:-40],
        b"\x80\x03cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x03cdnnlib.tflib.network\nNetwork\n)R.",
        b"\x80\x03cnumpy\ndtype\nX\x02\x00\x00\x00O8K\x00K\x01\x87R.",
        b"\x80\x03cnumpy\ndtype\nX\x02\x00\x00\x00O8K\x00K\x01\x87R" + b"." * 3,
        # attributes of what may be named: of a type, of a function, of a module
        b"\x80\x03ccollections\nOrderedDict\nN}X\x01\x00\x00\x00aK\x01s\x86b.",
        b"\x80\x03ctorch._utils\n_rebuild_parameter\n}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x03ctorch_utils.persistence\n_reconstruct_persistent_obj\n}(X\x0a\x00\x00\x00class_nameX\x01"
        b"\x00\x00\x00aX\x05\x00\x00\x00state}u\x85R}X\x0a\x00\x00\x00class_nameX\x01\x00\x00\x00bsb.",
    ],
)
def test_what_is_damaged_or_strange_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "network.pkl"
    path.write_bytes(data)
    refused(pickles.objects, path)
    refused(pickles.tensors, path)


def test_a_tensor_that_reaches_beyond_its_numbers_is_refused(tmp_path: Path) -> None:
    whole = plain(torch.arange(4.0), 3)
    start = whole.index(b"\x80\x02\x8a")
    numbers = whole[start : start + struct.unpack("<I", whole[start - 4 : start])[0]]

    class View:
        def __init__(self, offset: int) -> None:
            self.offset = offset

        def __reduce__(self) -> Any:
            arguments = (InBytes(numbers), self.offset, (3,), (1,), False, OrderedDict())
            return torch._utils._rebuild_tensor_v2, arguments

    path = tmp_path / "network.pkl"
    path.write_bytes(plain(View(1)))
    assert pickles.objects(path).tolist() == [1, 2, 3]
    path.write_bytes(plain(View(2)))
    assert "storage size" in refused(pickles.objects, path)


def test_programs_and_absent_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    path.write_bytes(zipped(pickle.dumps(1, 2), constants=pickle.dumps((), 2)))  # as TorchScript writes
    assert "TorchScript" in refused(pickles.tensors, path)
    assert "there is no such file" in refused(pickles.tensors, tmp_path / "none.pt")
    assert "can't be read" in refused(pickles.objects, tmp_path)


def test_torch_files_are_read(tmp_path: Path) -> None:
    for zipped_ in (True, False):
        path = tmp_path / f"{zipped_}.pt"
        path.write_bytes(saved({"args": argparse.Namespace(lr=0.1), "w": torch.ones(2)}, zipped_))
        read = pickles.tensors(path)
        assert read["args"].lr == 0.1
        assert torch.equal(read["w"], torch.ones(2))
