"""The generator that a command line asks for: its name, its weights, and how many pictures it takes."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from models import registry, weights
from models.contract import Controls, Reenactor, Spec, map_code
from models.describe import example
from realtime import exported
from realtime.devices import Backend, Precision, choose_half, lowered

log = logging.getLogger(__name__)

AUTO = "auto"
PHOTOREAL, ANYWHERE = "liveportrait", "warp"  # what `auto` takes where it can, and where it can't
ENOUGH_FPS = 20.0
TRIAL_S = 2.0

Network = Reenactor[Any, Any]


def make_generator(
    model: str,
    file: str | None = None,
    sources: int = 1,
    device: str = "cpu",
    precision: Precision = "auto",
    backend: Backend = "auto",
) -> Network:
    """The generator of `NAME` or `NAME:SIZE`, with the weights of that file, or with `random` ones, of which
    the log is told; without either, with those of the cache. `auto` is `PHOTOREAL` where its weights are in
    the cache and it makes `ENOUGH_FPS` frames a second on the device, and otherwise `ANYWHERE`. A folder
    holds an exported one, which is on the device at once; `device_of` tells whether ONNX Runtime could.

    sources: how many pictures it shall take. Raises ValueError, in words for a user, where that is too many,
    for an unknown name or size, for weights that are missing, needless or not that generator's, and for a
    folder that is no generator, or that goes with other wishes.
    """
    if is_folder(model):
        return _exported(model, file, sources, device, precision, backend)
    if backend == "onnx":
        name = "NAME" if model == AUTO else model
        raise ValueError(
            f"backend onnx runs what was exported: python -m trainer.export {name} --output DIR, and then "
            "--model DIR"
        )
    if model == AUTO:
        if file is not None:
            raise ValueError("model auto chooses by itself: name with --model whose weights these are")
        return _chosen(sources, device, precision)
    cls, _ = registry.parse(model)
    _check_sources(model, cls.spec, sources)
    generator = weights.create(model, file)
    if file == weights.RANDOM:
        _warn_of_noise(generator.spec)
    return generator


def is_folder(model: str) -> bool:
    """Does it name a folder, of an exported generator? A generator's name is none, whatever lies beside
    us."""
    if model == AUTO or model.partition(":")[0] in registry.names():
        return False
    return "/" in model or os.sep in model or Path(model).is_dir()


def device_of(generator: Network, wanted: str) -> str:
    """Where it is to run: on the wanted device, or where ONNX Runtime has it."""
    return generator.device if isinstance(generator, exported.ExportedNetwork) else wanted


def runs_in_torch(generator: Network) -> bool:
    """Can what it does be captured, and compiled? ONNX Runtime's can't."""
    return not isinstance(generator, exported.ExportedNetwork)


def compile_calls(generator: Network) -> None:
    """Have torch compile its two heavy calls, when they are first run. Raises ValueError where there is
    nothing of torch's in them."""
    if not runs_in_torch(generator):
        raise ValueError(
            "ONNX Runtime runs this generator, and torch compiles only its own: leave --compile out"
        )
    for call in ("encode_structure", "decode"):
        setattr(generator, call, torch.compile(getattr(generator, call)))


def name_of(spec: Spec) -> str:
    """`NAME`, or `NAME:SIZE` where there are several."""
    return f"{spec.name}:{spec.size}" if spec.size else spec.name


def frames_per_second(
    generator: Network,
    device: str,
    precision: Precision = "auto",
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """How many frames of one session a generator makes in a second, tried for `TRIAL_S`. Where reading the
    driver alone takes too long for `ENOUGH_FPS`, the figure is of that, and the rest is not tried: a network
    that needs a GPU would take half a minute to show on a processor that it is slow.
    """
    half = choose_half(precision, generator.spec, device)
    generator = generator.to(device).eval()
    source, driving = (
        map_code(lambda tensor: tensor.to(device), example(rule))
        for rule in (generator.spec.source, generator.spec.driving)
    )
    controls = Controls.default(1, device)
    with torch.inference_mode(), lowered(device, half):
        for _ in range(2):  # the first prepares what torch prepares only once
            started = clock()
            rest = generator.encode_structure(driving)
            rest[0].cpu()
            took = clock() - started
        if took * ENOUGH_FPS > 1:
            return 1 / took
        appearance = generator.encode_appearance([source])

        def frame() -> None:
            code = generator.encode_structure(driving)
            code = generator.transfer(code, rest, appearance, controls)
            generator.decode(appearance, code)[0].cpu()

        frame()
        frames, started = 0, clock()
        while (passed := clock() - started) < TRIAL_S:
            frame()
            frames += 1
    return frames / passed


def _exported(
    model: str, file: str | None, sources: int, device: str, precision: Precision, backend: Backend
) -> Network:
    """The generator of a folder, which is as it was exported."""
    if backend == "torch":
        raise ValueError(
            f"{model} is an exported generator, which ONNX Runtime runs: leave --backend torch out"
        )
    if file is not None:
        raise ValueError(f"{model} is an exported generator, with its weights: leave --weights out")
    if precision != "auto":
        raise ValueError(
            f"{model} is an exported generator, of the precision it was exported in: leave --precision out"
        )
    generator = exported.load(Path(model), device)
    _check_sources(model, generator.spec, sources)
    if generator.untrained:
        _warn_of_noise(generator.spec)
    return generator


def _check_sources(model: str, spec: Spec, sources: int) -> None:
    most = spec.max_sources
    if sources > most:
        takes = "one source picture" if most == 1 else f"at most {most} source pictures"
        raise ValueError(f"model {model} takes {takes}, not {sources}")


def _warn_of_noise(spec: Spec) -> None:
    log.warning("model %s has random weights: its picture is noise, good only to see it run", name_of(spec))


def _chosen(sources: int, device: str, precision: Precision) -> Network:
    """What `auto` comes to."""
    if not weights.cached(PHOTOREAL).exists():
        return make_generator(ANYWHERE, None, sources)
    try:
        generator = make_generator(PHOTOREAL, None, sources)
        fps = frames_per_second(generator, device, precision)
    except torch.OutOfMemoryError:
        log.warning("not enough memory on %s for model %s: %s is taken", device, PHOTOREAL, ANYWHERE)
        return make_generator(ANYWHERE, None, sources)
    if fps >= ENOUGH_FPS:
        log.info("model %s: it makes %.0f frames a second on %s", PHOTOREAL, fps, device)
        return generator
    log.warning(
        "model %s makes no more than %.1f frames a second on %s, and %.0f are wanted: %s is taken",
        PHOTOREAL,
        fps,
        device,
        ENOUGH_FPS,
        ANYWHERE,
    )
    return make_generator(ANYWHERE, None, sources)
