"""A generator as a serving directory: ONNX graphs, for whoever has ONNX Runtime and no code of our networks.

    python -m trainer.export runs/imf --output exported/imf        # the best that this training has left
    python -m trainer.export runs/imf/checkpoints/step-00001234.pt --output exported/imf
    python -m trainer.export imf:light --weights imf.safetensors --output exported/imf
    python -m trainer.export liveportrait --precision fp16 --output exported/liveportrait
    python -m trainer.export runs/imf --directions data/rendered --output exported/imf    # with sliders

Beside the graphs are `weights.safetensors`, the same for torch, and `picture.png`, which the graphs drew. Of
a checkpoint, the running mean of the generator is taken. With directions (`trainer/directions.py`) there is
`sliders.png`, too: what each slider does.

Each call of the contract becomes a graph, and `spec.json` says what goes in and what comes out. What one
graph gives, another takes by the same name:

    appearance   source.*                                         → appearance.*   once a portrait
    structure    driving.*                                        → structure.*    every frame
    neutral      codes.*                                          → neutral.*      at calibration
    transfer     structure.* neutral.* appearance.* controls.*    → moved.*        every frame
    blend        a.* b.* t                                        → blended.*      easing
    decode       appearance.* moved.*                             → rgb alpha      every frame

What a network doesn't look at is no input. A generator that prepares portraits on the host has no graph for
that. Each graph is tried in ONNX Runtime, on the CPU, on other inputs than it was traced with; of an export
that does not say what torch says, nothing is kept.
"""

import argparse
import copy
import importlib.util
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from models import registry, weights
from models.contract import Reenactor, Spec
from models.describe import named
from models.directions import Directed
from trainer.directions import find
from trainer.graphs import GRAPHS, OPSET, graphs_of, traced
from trainer.serving_picture import serving_picture, sliders_picture
from trainer.trained import Training, checkpoint_at, generator_of
from trainer.trial import Place, Session, decibels, furthest, scene

FORMAT = 1  # of spec.json
TOLERANCE = 1e-4  # of a tensor's own largest number
LEAST_DB = 40.0  # of a picture in fp16
TRACED, TRIED = 3, (1, 4)  # sessions in the batch that a graph is traced with, and in those that try it
STOPPED = 130  # exit code after Ctrl-C
# What lies beside the graphs.
WEIGHTS, PICTURE, SLIDERS = "weights.safetensors", "picture.png", "sliders.png"

Precision = Literal["float32", "fp16"]
Network = Reenactor[Any, Any]


@dataclass(frozen=True)
class Exported:
    """A graph that is done."""

    graph: str
    size: int  # bytes
    seconds: float  # for tracing, writing and trying it
    error: float  # against torch in float32: the largest, in the largest number of its tensor …
    tensor: str  # … which is this
    db: float  # of the worse picture, against torch's in float32; infinite where it gives none


def export(
    network: Network,
    output: Path,
    precision: Precision = "float32",
    untrained: bool = False,
    training: Training | None = None,
) -> Iterator[Exported]:
    """Write the graphs, `spec.json`, weights and picture into the folder `output`, telling of each graph. The
    folder is there when the last was told of, whole, or not at all.

    untrained: for `spec.json`, whether the weights are random ones; training: likewise, where they are from,
    if from a checkpoint. Raises ValueError for what `check` refuses, for weights that are not finite and for
    a graph that is out of tolerance, OSError where nothing can be written.
    """
    check(network.spec, output, precision)
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = output.with_name(f".{output.name}.{os.getpid()}.part")
    folder.mkdir()
    try:
        yield from _written(network.eval(), folder, precision, untrained, training)
        if output.exists():
            output.rmdir()  # it is empty, and not everywhere may a folder take another's place
        folder.rename(output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check(spec: Spec, output: Path, precision: Precision) -> None:
    """What is known before the work begins. Raises ValueError for a folder that holds something, for half
    precision of a network without weights, and where the extra `train` is not installed."""
    for module in ("onnx", "onnxscript"):
        if importlib.util.find_spec(module) is None:
            raise ValueError(f"{module} is not installed: it is of the extra `train`: pip install '.[train]'")
    if precision == "fp16" and not spec.needs_weights:
        raise ValueError(f"model {spec.name} runs in float32 only: leave --precision fp16 out")
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file; expected a folder, new or empty")
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"{output} is not empty; expected a folder, new or empty")


def _written(
    network: Network, folder: Path, precision: Precision, untrained: bool, training: Training | None
) -> Iterator[Exported]:
    from PIL import Image

    half = precision == "fp16"
    files = {}
    if network.spec.needs_weights:
        weights.save(network, folder / WEIGHTS)
        files[WEIGHTS] = weights.file_sha256(folder / WEIGHTS)
    # In half precision are the weights, and what the network itself makes of pictures with them.
    lowered = copy.deepcopy(network).half() if half else network
    example = scene(network, TRACED, seed=0)
    truths = [
        {name: tensor for key, code in one.items() for name, tensor in named(key, code)}
        for one in (scene(network, batch, seed=batch) for batch in TRIED)
    ]
    known = [dict(truth) for truth in truths]
    dtypes: dict[str, torch.dtype] = {}
    told = {}
    sessions = {}
    for name in graphs_of(network):
        started, path = time.perf_counter(), folder / f"{name}.onnx"
        traced(lowered, name, example, dtypes).save(path, external_data=False)
        session = sessions[name] = Session(path)
        found = [session(one) for one in known]
        tried = [_judged(name, *pair, half) for pair in zip(found, truths, strict=True)]
        error, tensor = max((error, tensor) for error, tensor, _ in tried)
        db = min(db for _, _, db in tried)
        if half:
            # A weak rounding may grow on its way: the graphs are tried as a chain, and its end counts.
            for batch, one in zip(known, found, strict=True):
                batch |= {key: rows.expand_as(batch[key]) for key, rows in one.items()}
        dtypes |= {one.name: one.dtype for one in session.outputs}
        told[name] = {
            "file": path.name,
            "sha256": weights.file_sha256(path),
            "inputs": [_told(one) for one in session.inputs],
            "outputs": [_told(one) for one in session.outputs],
        }
        yield Exported(name, path.stat().st_size, time.perf_counter() - started, error, tensor, db)
    pages = {PICTURE: serving_picture(network, sessions)}
    if isinstance(network, Directed) and network.directions is not None:
        pages[SLIDERS] = sliders_picture(network, sessions)
    for file, page in pages.items():
        Image.fromarray(page).save(folder / file)
        files[file] = weights.file_sha256(folder / file)
    spec = asdict(network.spec) | {"reads": sorted(network.spec.reads)}
    about = {
        "format": FORMAT,
        "spec": spec,
        "precision": precision,
        "untrained": untrained,
        "training": training and asdict(training),
        "weights": weights.digest(network.state_dict()) if network.spec.needs_weights else None,
        "opset": OPSET,
        "torch": torch.__version__,
        "onnx": metadata.version("onnx"),
        "graphs": told,
        "files": files,
    }
    (folder / "spec.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _judged(
    graph: str, found: Mapping[str, Tensor], truth: Mapping[str, Tensor], half: bool
) -> tuple[float, str, float]:
    """The largest error, of which tensor, and the worse picture's decibels, infinite where there is none.
    Raises ValueError for what is out of tolerance."""
    error, tensor = furthest(found, truth)
    pictures = [name for name in ("rgb", "alpha") if name in found]
    db, picture = min(
        ((decibels(found[name], truth[name]), name) for name in pictures), default=(math.inf, "")
    )
    tried = f"{graph}.onnx, tried with a batch of {len(truth['t'])}"
    if (GRAPHS[graph].plain or not half) and error > TOLERANCE:
        raise ValueError(
            f"{tried}: {tensor} differs from torch's by {error:.2g} of its largest number; allowed is "
            f"{TOLERANCE:g}"
        )
    if half and db < LEAST_DB:
        raise ValueError(
            f"{tried}: {picture} is {db:.1f} dB from torch's in float32; wanted are {LEAST_DB:g} dB"
        )
    return error, tensor, db


def _told(place: Place) -> dict[str, Any]:
    dtype = str(place.dtype).removeprefix("torch.")
    return {"name": place.name, "dtype": dtype, "shape": list(place.shape)}


def _is_path(model: str) -> bool:
    """A checkpoint or a run's folder? A generator's name is none, whatever lies beside us."""
    if model.partition(":")[0] in registry.names():
        return False
    return model.endswith(".pt") or "/" in model or os.sep in model or Path(model).is_dir()


def _asked_for(
    model: str, file: str | None, output: Path, precision: Precision
) -> tuple[Network, Training | None]:
    """Raises ValueError for what there isn't, and for what can't be exported."""
    if _is_path(model):
        if file is not None:
            raise ValueError(f"{model} is a checkpoint, with its weights: leave --weights out")
        return generator_of(checkpoint_at(Path(model)))
    check(registry.parse(model)[0].spec, output, precision)
    if file is not None and file.endswith(".pt"):
        return generator_of(Path(file), model)
    return weights.create(model, file), None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit code 2 and one line for what can't be exported, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.export", description="Write a generator as a serving directory."
    )
    parser.add_argument(
        "model",
        metavar="NAME[:SIZE]|RUN|CHECKPOINT",
        help="the generator, or what a training has left of one",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="its weights (safetensors, or a checkpoint), or random; by default those that models.fetch got",
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="the folder to write: a new or an empty one"
    )
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="float32",
        help="of the weights (default: float32)",
    )
    parser.add_argument(
        "--directions",
        metavar="DATA",
        type=Path,
        help="give it sliders for pose and expression, along directions found in these rendered clips",
    )
    asked = parser.parse_args(arguments)

    def tell(line: str) -> None:
        print(f"{parser.prog}: {' '.join(line.split())}", file=sys.stderr)

    try:
        network, training = _asked_for(asked.model, asked.weights, asked.output, asked.precision)
        untrained = asked.weights == weights.RANDOM
        if untrained:
            tell(f"warning: model {asked.model} has random weights: its picture is noise")
        if asked.directions is not None:
            check(network.spec, asked.output, asked.precision)  # before minutes are spent
            found = find(network.eval(), asked.directions)
            assert isinstance(network, Directed), "it has directions"
            network.direct(found.directions)
            print(found, flush=True)
        for one in export(network, asked.output, asked.precision, untrained, training):
            picture = "" if one.db == math.inf else f", pictures {one.db:.1f} dB"
            print(
                f"{one.graph}.onnx: {one.size / 1e6:.1f} MB, {one.seconds:.1f} s, "
                f"error {one.error:.1e} ({one.tensor}){picture}",
                flush=True,
            )
    except OSError as error:
        tell(f"{error.filename or asked.output}: {error.strerror or error}")
        return 2
    except ValueError as error:
        tell(str(error))
        return 2
    except KeyboardInterrupt:
        tell("stopped; nothing was written")
        return STOPPED
    print(f"Written to {asked.output}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
