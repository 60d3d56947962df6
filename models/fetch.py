"""Weights that others have published, got from the Hugging Face hub or from files that are there already:

    python -m models.fetch liveportrait
    python -m models.fetch liveportrait --from DIR

They are checked, converted into one file of ours, and kept where `models.weights.cached` says, so that
`--model liveportrait` finds them. A run that was ended goes on where it stopped.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import torch
from torch import nn

from models import registry, weights
from models.download import Unreachable, download
from models.liveportrait import public
from models.public_weights import State

HUB = "https://huggingface.co"  # or what HF_ENDPOINT says
MEGABYTE = 1_000_000
STOPPED = 130  # the exit code after Ctrl-C


@dataclass(frozen=True)
class Published:
    """A file as its authors have published it."""

    path: str  # in their repository
    size: int  # bytes
    sha256: str

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class Source:
    """The public weights of one of our networks."""

    model: str
    title: str  # whose they are
    licence: str
    repository: str  # on the hub
    files: Mapping[str, Published]  # by the network's module that each is for
    others: Mapping[str, str]  # SHA-256 → of what else of theirs, which would fit as well
    other_folders: Mapping[str, str]  # where such files lie → likewise
    read: Callable[[Mapping[str, Path], nn.Module], State]

    @property
    def size(self) -> int:
        """Bytes, of all files."""
        return sum(file.size for file in self.files.values())

    @property
    def by_hand(self) -> str:
        """What to do without a network."""
        paths = ", ".join(file.path for file in self.files.values())
        return (
            f"get {paths} from {HUB}/{self.repository} by other means, put them into a folder, and run "
            f"python -m models.fetch {self.model} --from FOLDER"
        )


BASE = "liveportrait/base_models"
ANIMALS = "LivePortrait's model of animals"

LIVEPORTRAIT = Source(
    model="liveportrait",
    title="LivePortrait, by the Kuaishou Visual Generation and Interaction Center (KwaiVGI)",
    licence="MIT. Their InsightFace detectors, which are not free for commercial use, are not fetched: "
    "this program has its own.",
    repository="KwaiVGI/LivePortrait",
    files={
        "appearance": Published(
            f"{BASE}/appearance_feature_extractor.pth",
            3_387_959,
            "5279bb8654293dbdf327030b397f107237dd9212fb11dd75b83dfb635211ceb5",
        ),
        "motion": Published(
            f"{BASE}/motion_extractor.pth",
            112_545_506,
            "251e6a94ad667a1d0c69526d292677165110ef7f0cf0f6d199f0e414e8aa0ca5",
        ),
        "warping": Published(
            f"{BASE}/warping_module.pth",
            182_180_086,
            "2f61a6f265fe344f14132364859a78bdbbc2068577170693da57fb96d636e282",
        ),
        "generator": Published(
            f"{BASE}/spade_generator.pth",
            221_813_590,
            "4780afc7909a9f84e24c01d73b31a555ef651521a1fe3b2429bd04534d992aee",
        ),
        "stitching": Published(
            "liveportrait/retargeting_models/stitching_retargeting_module.pth",
            2_393_098,
            "3652d5a3f95099141a56986aaddec92fadf0a73c87a20fac9a2c07c32b28b611",
        ),
    },
    others={
        "7e320d545579caa83c7b094cef8b7b43fe92a2e410c219ffa97b08be549f45bf": ANIMALS,
        "827d0ea4c56ff252dba50feece3bc62ced365ecae5edb86db07eb71b2f39a696": ANIMALS,
        "6ac31a9b608f3920ec41a402b1c4e29d22007dafd79a855f204aae9307039445": ANIMALS,
        "7dfd251dc6b3a1baefebfc658f5bb2a2c565649cdb9aa75032591e824a0bfcee": ANIMALS,
    },
    other_folders={"liveportrait_animals": ANIMALS},
    read=public.read,
)

SOURCES = {source.model: source for source in (LIVEPORTRAIT,)}


def fetch(source: Source) -> Path:
    """Download, check and convert; what was downloaded is then deleted. Raises ValueError for files that are
    not the published ones, Unreachable where they can't be had, OSError where the disk is full."""
    path = weights.cached(source.model)
    folder = _unfinished(path)
    folder.mkdir(parents=True, exist_ok=True)
    hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    files = {part: folder / file.name for part, file in source.files.items()}
    there = sum(file.stat().st_size for file in files.values() if file.exists())
    needed = 2 * source.size - there  # the converted file is as large
    if (free := shutil.disk_usage(folder).free) < needed:
        raise ValueError(
            f"{path.parent}: {needed // MEGABYTE} MB are needed there and {free // MEGABYTE} MB free: make "
            "room, or set REENACT_CACHE to another folder"
        )
    for part, file in source.files.items():
        url = f"{hub}/{source.repository}/resolve/main/{quote(file.path)}"
        with _progress(file) as advance:
            download(url, files[part], file.size, file.sha256, advance)
    _convert(source, files, path)
    return path


def take(source: Source, folder: Path, warn: Callable[[str], object]) -> Path:
    """Check and convert the files that lie somewhere below a folder, and leave them there.

    warn: called with a line about each file that fits but is not the published one. Raises ValueError for
    files that are missing, there twice, cut short, or don't fit.
    """
    files = found_below(folder, source)
    changed = {}
    for part, file in files.items():
        found = weights.file_sha256(file)
        if found in source.others:
            raise ValueError(_other(file, source.others[found]))
        if found != source.files[part].sha256:
            changed[part] = f"{file}: its keys fit, but it is not the published file (SHA-256 {found[:12]}…)"
    network = _blank(source)
    for part in changed:
        try:
            source.read({part: files[part]}, network)
        except ValueError:
            there, whole = files[part].stat().st_size, source.files[part].size
            if there < whole:
                raise ValueError(f"{files[part]}: cut short, {there:,} of {whole:,} bytes") from None
            raise
    path = weights.cached(source.model)
    _unfinished(path).mkdir(parents=True, exist_ok=True)
    _convert(source, files, path)
    for line in changed.values():
        warn(line)
    return path


def found_below(folder: Path, source: Source) -> dict[str, Path]:
    """The source's files by the network's module that each is for, found by their names. Raises ValueError
    where one is missing or there are several."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder")
    found, missing = {}, []
    for part, file in source.files.items():
        there = [path for path in sorted(folder.rglob(file.name)) if path.is_file()]
        others = {path: kind for path in there if (kind := _kind_of_folder(path, source))}
        ours = [path for path in there if path not in others]
        if len(ours) > 1:
            raise ValueError(f"{ours[0]} and {ours[1]} are both there: name the folder of one with --from")
        if ours:
            found[part] = ours[0]
        elif others:
            raise ValueError(_other(*next(iter(others.items()))))
        else:
            missing.append(file.name)
    if missing:
        raise ValueError(f"{folder} has no {', no '.join(missing)}: {source.by_hand}")
    return found


def _kind_of_folder(path: Path, source: Source) -> str | None:
    kinds = (source.other_folders.get(part) for part in path.absolute().parent.parts)
    return next(filter(None, kinds), None)


def _other(path: Path, kind: str) -> str:
    return f"{path}: of {kind}, whose keys are the same; expected the file of the model of people"


def _unfinished(path: Path) -> Path:
    """The folder of what is deleted in the end."""
    return path.with_suffix(".unfinished")


def _blank(source: Source) -> weights.Network:
    """The network, without numbers."""
    with torch.device("meta"):
        return registry.make(source.model)


def _convert(source: Source, files: Mapping[str, Path], path: Path) -> None:
    """Write the weights' one file, and delete the folder of what is unfinished."""
    network, folder = _blank(source), _unfinished(path)
    network.load_state_dict(source.read(files, network), assign=True)
    whole = folder / path.name
    weights.save(network, whole)
    whole.replace(path)
    shutil.rmtree(folder)


@contextmanager
def _progress(file: Published) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal, a line elsewhere. Yields what is to be called with each number of bytes."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        print(f"{file.name}, {file.size / MEGABYTE:.1f} MB", file=sys.stderr)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(file.name, total=file.size)
        yield lambda count: bar.advance(task, count)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit code 2 and one line where the weights can't be had, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m models.fetch", description="Get the public weights of a generator, once."
    )
    parser.add_argument("model", metavar="NAME", help=f"the generator: {', '.join(SOURCES)}")
    parser.add_argument(
        "--from", dest="folder", metavar="DIR", type=Path, help="take the files that lie below this folder"
    )
    asked = parser.parse_args(arguments)

    def tell(line: str) -> None:
        print(f"{parser.prog}: {line}", file=sys.stderr)

    source = SOURCES.get(asked.model)
    if source is None:
        tell(f"model {asked.model!r} has no public weights; known: {', '.join(SOURCES)}")
        return 2
    try:
        path = weights.cached(source.model)
        if path.exists():
            print(f"{path} is there already. Delete it to get the weights anew.")
            return 0
        print(f"{source.title}\nOrigin: {HUB}/{source.repository}\nLicence: {source.licence}", flush=True)
        if asked.folder is None:
            path = fetch(source)
        else:
            path = take(source, asked.folder, lambda line: tell(f"warning: {line}"))
    except Unreachable as error:
        tell(f"{error}; run it again to go on, or {source.by_hand}")
        return 2
    except OSError as error:
        where = error.filename or weights.cached(source.model).parent
        tell(f"{where}: {error.strerror}" if error.strerror else str(error))
        return 2
    except ValueError as error:
        tell(str(error))
        return 2
    except KeyboardInterrupt:
        tell("stopped; run it again to go on from here")
        return STOPPED
    print(f"Kept in {path}: --model {source.model} finds them there.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
