"""Files that are there whole or not at all, and JSON in them."""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def as_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of it when it is written and read."""
    found: dict[str, Any] = json.loads(json.dumps(value))
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Raises ValueError where it is not there, or no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.parent} is no prepared data set: it has no {path.name}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected an object")
    return found


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """The file is there whole or not at all."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """The file is there whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """The file is there whole or not at all."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(content)
        flush(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    flush(path.parent)


def flush(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk for good."""
    if os.name == "nt" and path.is_dir():  # Windows can't, and keeps names in a journal of its own
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
