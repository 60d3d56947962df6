"""How good is a trained network? Figures on people that training never saw, beside those of copying the
source and of the mean face:

    python -m trainer.evaluate --weights runs/imf-tiny/checkpoints/best.pt --output reports/imf
    python -m trainer.evaluate --weights imf.safetensors --data data/vfhq --output reports/imf-vfhq
    python -m trainer.evaluate --weights warp --landmarks regressor.safetensors --output reports/warp
    python -m trainer.evaluate --weights runs/latent --protocol sequences --output reports/videos

On rendered people (`synthetic`) a person drawn with somebody else's motion has a true picture; a prepared
folder's clips are reenacted with their own. Written are metrics.json (settings and all figures), clips.json
(each clip's), report.md and report.html, and pictures.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models import weights
from models.coefficients import FaceModel
from models.command_line import parse, reported, tell
from models.latent import Latent
from trainer.chain import face_model
from trainer.data.files import write_text
from trainer.evaluation import framing, pages, record, report
from trainer.evaluation.brought import Brought, brought
from trainer.evaluation.framing import Framed, Network
from trainer.evaluation.landmarks import Finder, MediaPipe, mediapipe_there, regressor_of
from trainer.evaluation.pairs import Pairs, crossing_pairs, dataset_pairs, self_pairs
from trainer.evaluation.probing import codes_of, gallery, probe
from trainer.evaluation.readings import Readings, evaluate
from trainer.evaluation.retrieval import NETWORK, retrieval
from trainer.evaluation.sequences import folder_sequences, rendered_sequences
from trainer.evaluation.settings import SYNTHETIC, Settings
from trainer.evaluation.steadiness import possible, steadiness
from trainer.evaluation.streaming import Streamed, follow
from trainer.evaluation.transfer import company, transfer
from trainer.evaluation.weights import network_of
from trainer.metrics.availability import WIDTHS

NAME = "python -m trainer.evaluate"
LARGER = 1.5  # side of rendered pictures / side of the network's crops, as in training
LARGEST = 384  # pixels, unless asked for more
MOVING = (4, 8)  # people and frames of the clips that are looked at for flicker
FRAMING = {
    "clip": "Source and truth lie in one square, the mean of their clip's; the driver's likewise in his own.",
    "frame": "Every frame lies in its own square, as in training.",
}


def measure(
    settings: Settings,
    network: Network,
    finder: Finder | None,
    theirs: Brought,
    judge: FaceModel | None = None,
) -> dict[str, Any]:
    """All of it, written to the folder. Returns what metrics.json holds."""
    device = next(iter([*network.parameters(), *network.buffers()])).device
    spec = network.spec
    clips: list[Mapping[str, Any]] = []
    document: dict[str, Any] = {
        "format": record.FORMAT,
        "network": {
            "model": f"{spec.name}:{spec.size}" if spec.size else spec.name,
            "file": settings.weights,
            "sha256": weights.digest(network.state_dict()) if spec.needs_weights else None,
        },
        "settings": asdict(settings) | {"style": settings.motion},
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "torch": torch.__version__,
        "landmarks": "nobody looks for them: no AKD" if finder is None else finder.name,
        "framing": FRAMING[framing.steady_of(spec)],
        "experiments": {},
        "brought": theirs.told(),
    }
    size = settings.size or min(round(LARGER * spec.source.size), LARGEST)
    if settings.protocol == "sequences":
        found = _of_sequences(settings, network, finder, theirs, size, device)
        document["experiments"][found.readings.experiment] = {
            **record.of_sequences(found, spec.name),
            "pictures": [_page(settings, found.readings)],
        }
        return _written(settings, document, found.readings.clips)
    for pairs in _pairs(settings, size, device):
        readings = evaluate(network, pairs, finder, theirs.judges(), theirs.of_sources())
        if settings.pictures:
            pages.save_pictures(settings.output / "pictures" / readings.experiment, readings)
        document["experiments"][readings.experiment] = {
            **record.of_readings(readings, spec.name),
            "pictures": [_page(settings, readings)],
        }
        clips += readings.clips
        tell(f"{readings.experiment}: {len(readings.pictures.network)} pictures", NAME)
    if settings.data == SYNTHETIC:
        document |= _of_codes(settings, network, size, device)
        if isinstance(network, Latent) and settings.transfers:
            document["transfer"] = _of_transfer(settings, network, judge, size, device)
    return _written(settings, document, clips)


def _written(
    settings: Settings, document: dict[str, Any], clips: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    record.save(settings.output / "metrics.json", document)
    record.save(settings.output / "clips.json", {"clips": clips})
    write_text(settings.output / "report.md", report.markdown(document))
    write_text(settings.output / "report.html", report.html(document))
    return document


def _page(settings: Settings, found: Readings) -> str:
    """Its place in the report's folder."""
    page = f"pictures/{found.experiment}.png"
    pages.save_picture(settings.output / page, pages.page(found))
    return page


def _of_sequences(
    settings: Settings,
    network: Network,
    finder: Finder | None,
    theirs: Brought,
    size: int,
    device: torch.device,
) -> Streamed:
    asked = settings.sequences, settings.sequence_frames
    if settings.data == SYNTHETIC:
        people, held_out = settings.identities, settings.held_out
        there = rendered_sequences(settings.seed, *asked, people, size, device, settings.motion, held_out)
    else:
        there = folder_sequences(Path(settings.data), settings.seed, *asked, settings.held_out)
    folder = settings.output / "pictures" / there.name

    def keep(number: int, clip: Framed, begin: int, drawn: Tensor) -> None:
        pages.save_sequence(folder / f"{number:03d}", clip, begin, drawn)

    def told(number: int, frames: int) -> None:
        tell(f"sequence {number + 1} of {len(there.each)}: {frames} frames", NAME)

    judges = theirs.judges(), theirs.of_sources()
    return follow(network, there, device, finder, *judges, keep if settings.pictures else None, told)


def _pairs(settings: Settings, size: int, device: torch.device) -> Iterator[Pairs]:
    if settings.data != SYNTHETIC:
        folder = dataset_pairs(
            Path(settings.data), settings.identities * 2, settings.frames, settings.held_out
        )
        yield folder.to(device)
        return
    counts = (settings.identities, settings.motions, settings.frames)
    crossing = crossing_pairs(
        settings.seed, *counts, size, device, settings.motion, held_out=settings.held_out
    )
    yield crossing
    yield self_pairs(crossing)


def _of_codes(settings: Settings, network: Network, size: int, device: torch.device) -> dict[str, Any]:
    """Flicker, probes and retrieval."""
    found: dict[str, Any] = {}
    if possible():
        people, frames = MOVING
        moving = crossing_pairs(
            settings.seed, people, 1, frames, size, device, None, settings.held_out, True, learnt=people
        )
        found["steadiness"] = record.of_steadiness(steadiness(moving, evaluate(network, moving)))
    if settings.probes:
        shown = gallery(
            settings.seed,
            settings.probes,
            size=size,
            device=device,
            style=settings.motion,
            held_out=settings.held_out,
        )
        found["probes"] = record.of_probes(probe(codes_of(network, shown)))
        if network.spec.name == NETWORK:
            found["retrieval"] = record.of_retrieval(retrieval(network, shown))
    return found


def _of_transfer(
    settings: Settings, network: Latent, judge: FaceModel | None, size: int, device: torch.device
) -> dict[str, Any]:
    people = company(
        network.spec, settings.seed, settings.transfers, size, device, settings.motion, settings.held_out
    )
    found = transfer(network, people, judge, settings.seed)
    page = "pictures/transfer.png"
    pages.save_picture(settings.output / page, pages.sheet(found))
    tell(f"transfer: {settings.transfers} people", NAME)
    return {**record.of_transfer(found), "pictures": [page]}


@contextlib.contextmanager
def finder_of(asked: str, device: torch.device) -> Iterator[Finder | None]:
    """Raises ValueError for what isn't there."""
    if asked == "auto":
        asked = "mediapipe" if mediapipe_there() else "none"
    if asked == "none":
        yield None
    elif asked == "mediapipe":
        if not mediapipe_there():
            raise ValueError("mediapipe is not installed: give --landmarks FILE, or none")
        from models.native_messages import native_messages_muted

        with native_messages_muted(), MediaPipe() as found:
            yield found
    else:
        found_by = regressor_of(Path(asked))
        found_by.network.to(device)
        yield found_by


def run(settings: Settings) -> dict[str, Any]:
    """The command's work. Raises ValueError and OSError, one line, for what can't be done."""
    if settings.output.exists() and (not settings.output.is_dir() or any(settings.output.iterdir())):
        raise ValueError(f"{settings.output} is not empty; expected a folder, new or empty")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda: torch sees no GPU here; leave --device out")
    on_gpu = settings.device != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    network = network_of(settings.weights).to(device).eval().requires_grad_(False)
    features = {name: getattr(settings, name) for name in WIDTHS}
    theirs = brought(settings.lpips, settings.csim_synthetic, features)
    judge = None
    if settings.coefficients is not None:
        judged = settings.protocol == "pairs" and settings.data == SYNTHETIC and settings.transfers
        if not isinstance(network, Latent) or not judged:
            raise ValueError(
                "coefficients: they judge transfers of latent beside rendered pairs; leave them out"
            )
        judge = face_model(settings.coefficients).to(device)
    with finder_of(settings.landmarks, device) as finder:
        settings.output.mkdir(parents=True, exist_ok=True)
        return measure(settings, network, finder, theirs, judge)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit code 2 and one line for what can't be measured, 130 after Ctrl-C."""
    settings = parse(Settings, sys.argv[1:] if arguments is None else arguments, NAME, __doc__)
    code = reported(lambda: run(settings), NAME)
    if code == 0:
        print(f"Written to {settings.output}: report.md, report.html, metrics.json, clips.json.")
    return code


if __name__ == "__main__":
    sys.exit(main())
