"""Compare our networks with what the original code gave for the same made-up weights and inputs:

    python -m tests.parity ../shared/golden/public

A row for each output: `ok` or `FAIL`, the largest error and its tolerance, the root mean square error and
its own. `missing` are networks whose fixture is there but whose code is not, yet. Exit code 1 where anything
fails, 2 where there is nothing to compare with.

Each module of this folder that has `NETS`, names of fixtures, and `rows(folder)`, rows as `Golden.compare`
makes them with `NET:` before their names, takes part.
"""

import argparse
import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from tests import parity
from tests.parity.golden import Golden
from tests.parity.nets import Row


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=(__doc__ or "").split(":")[0])
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="fixtures: NET.json and NET.npz of each network"
    )
    folder = parser.parse_args(arguments).folder
    there = fixtures(folder)
    if not there:
        parser.error(f"{folder}: no fixtures there")
    failed = 0
    known: set[str] = set()
    for module in modules():
        known |= set(module.NETS)
        for row in checked(module, folder, there & set(module.NETS)):
            failed += not row[1]
            print(line(row), flush=True)
    for net in sorted(there - known):
        print(f"missing  {net}")
    return 1 if failed else 0


def fixtures(folder: Path) -> set[str]:
    """The networks that have a fixture in the folder."""
    sidecars = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    return {net for net, sidecar in sidecars.items() if "parts" in sidecar}


def modules() -> list[ModuleType]:
    """Those of this folder that compare something."""
    names = sorted(found.name for found in pkgutil.iter_modules(parity.__path__))
    imported = [importlib.import_module(f"{parity.__name__}.{name}") for name in names if is_ours(name)]
    return [module for module in imported if hasattr(module, "NETS")]


def is_ours(name: str) -> bool:
    return name != "__main__" and not name.startswith("test_")


def checked(module: ModuleType, folder: Path, nets: set[str]) -> Iterator[Row]:
    """The module's rows, and one for each output of the networks that it has none for. What breaks, fails."""
    if not nets:
        return
    try:
        rows = list(module.rows(folder))
    except Exception as error:  # one network's trouble must not hide the others' figures
        yield ", ".join(sorted(nets)), False, f"{type(error).__name__}: {error}", None, None, None
        return
    yield from rows
    compared = {row[0] for row in rows}
    for net in sorted(nets):
        for name in Golden(str(folder), net).outputs():
            if f"{net}:{name}" not in compared:
                yield f"{net}:{name}", False, "was not compared", None, None, None


def line(row: Row) -> str:
    name, ok, error, tolerance, rms, rms_tolerance = row
    said = f"{'ok' if ok else 'FAIL':<7}  {name:<40}"
    if isinstance(error, str):
        return f"{said}  {error}"
    return f"{said}  max {error:.1e} of {tolerance:.1e}  rms {rms:.1e} of {rms_tolerance:.1e}"


if __name__ == "__main__":
    sys.exit(main())
