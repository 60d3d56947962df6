"""A recipe's table of ablations: each variant trained alike, judged on people whom training never saw.

    python -m trainer.ablate imf --config tiny --data data/rendered
    python -m trainer.ablate dae_gan --config tiny --data data/rendered --names vanilla with-smoothness whole
    python -m trainer.ablate landmark_gan --output runs/table --landmarks regressor.safetensors

All other options are those of `python -m trainer.train RECIPE`. Each variant is a run in DIR/NAME, which the
same command goes on with; DIR/table.md, table.json, bars-*.png and pictures.png hold what came of them.
"""

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from models.command_line import INTERRUPTED, reported, tell
from models.face_geometry import LANDMARKS_68
from trainer import checkpoint, recipes
from trainer.ablation import METRICS, Row, as_json, as_markdown
from trainer.config import Settings
from trainer.data.files import read_json, write_json, write_text
from trainer.data.pictures import encode_picture
from trainer.data.samples import UNKNOWN
from trainer.data.views import Views
from trainer.distributed import device_of
from trainer.drawings import bar_plot, panel, to_levels
from trainer.evaluate import finder_of
from trainer.evaluation.brought import Brought, brought
from trainer.evaluation.framing import FACE
from trainer.evaluation.landmarks import Finder, Found
from trainer.feed import held_out, seen_by
from trainer.journal import LOG, SETTINGS, read_log
from trainer.loop import Stopped
from trainer.metrics import pictures
from trainer.metrics.landmarks import akd_l2_256
from trainer.recipe import Recipe, phases_of
from trainer.train import build, plain, settings_of, train

NAME = "python -m trainer.ablate"
OURS = ("--resume", "--initial", "--ablate", "--dry-run")  # options that the table has its own say in
FREE = ("output", "resume", "device", "keep", "vgg")  # settings that two variants' runs may differ in
AT_ONCE = 16  # pictures
SHOWN = 6  # people on the page of pictures
LEAST_SIDE = 96  # pixels; smaller pictures are enlarged


@dataclass(frozen=True)
class Asked:
    """Of the table; the rest is the training's."""

    names: tuple[str, ...]
    output: Path
    people: int
    landmarks: str
    csim_synthetic: Path | None


@dataclass(frozen=True)
class HeldOut:
    """What all variants are judged by."""

    views: Views
    mask: Tensor  # B×1×S×S bool: the face, or everything where nobody says where that is
    people: list[str]


def run(name: str, asked: Asked, settings: Settings) -> None:
    """The command's work. Raises ValueError and OSError, one line, for what can't be done, Stopped after a
    signal."""
    entry = recipes.get(name)
    if unknown := [one for one in asked.names if one not in entry.variants]:
        known = ", ".join(entry.variants)
        raise ValueError(f"names: {unknown[0]!r} is unknown; known for {name}: {known}")
    if "RANK" in os.environ:
        raise ValueError("one process makes the table: train the variants under torchrun before")
    device = device_of(settings.device)
    whole = build(settings, name)
    if whole.measure != "l1":
        raise ValueError(f"{name} draws nobody in particular, whose picture could be compared with the truth")
    names = [one for one in entry.variants if one in (asked.names or entry.variants)]
    theirs = brought(embedder=asked.csim_synthetic)
    with finder_of(asked.landmarks, device) as finder:
        runs = {
            one: replace(settings, ablate=entry.variants[one].off, output=asked.output / one, resume="auto")
            for one in names
        }
        for one in names:
            if not _finished(runs[one]):
                train(runs[one], name)
        shown = held_out_of(settings, whole.to(device), asked.people, device)
        drawn = {one: drawn_by(runs[one], name, shown.views, device) for one in names}
        figures = judged(drawn, shown, finder, theirs)
    phases = {phase.name for phase in phases_of(whole)}
    rows = {
        one: Row(figures[one], shown.people, _losses(runs[one], phases), settings.pictures) for one in names
    }
    notes = [
        f"model {settings.model}, seed {settings.seed}, data {settings.data}: the same for all",
        f"{len(shown.people)} pictures of {len(set(shown.people))} people held out; each is drawn from "
        "another one of the same person",
        "L1, PSNR and SSIM inside the face"
        if not bool(shown.mask.all())
        else "L1, PSNR and SSIM of the whole picture: the data has no masks",
        f"landmarks by {finder.name}"
        if finder is not None and "akd" in figures[names[0]]
        else "no AKD: nobody finds landmarks here, or not every picture has true ones",
        "differences with 95 % intervals over the people; what another seed would change is not in them",
    ]
    if not theirs.judges():
        notes.append("neither CSIM nor ACED: --csim-synthetic names an embedder's weights")
    _write(asked.output, f"Ablations of {name}", notes, rows, drawn, shown, entry)


def held_out_of(settings: Settings, recipe: Recipe, people: int, device: torch.device) -> HeldOut:
    """Samples as the whole recipe takes them, so that all variants draw the same."""
    samples = held_out(settings, recipe, people, device, labels=True)
    views = seen_by(recipe, samples, device, labels=True)
    assert views.labels is not None
    labels = views.labels[:, -1]
    face = torch.isin(labels, torch.tensor(FACE, device=device))
    edge = pictures.RADIUS  # SSIM has nothing to say nearer to the border
    there = face[:, edge:-edge, edge:-edge].flatten(1).any(1) & (labels != UNKNOWN).flatten(1).any(1)
    assert not isinstance(samples.identity, str)
    return HeldOut(views, (face | ~there.view(-1, 1, 1)).unsqueeze(1), samples.identity)


@torch.no_grad()
def drawn_by(settings: Settings, name: str, views: Views, device: torch.device) -> Tensor:
    """B×3×S×S in [0, 1]: by the averaged generator that a run ended with."""
    assert settings.output is not None
    recipe = build(settings, name)
    newest = checkpoint.latest(settings.output / "checkpoints")
    assert newest is not None, "it was trained"
    recipe.generator.load_state_dict(checkpoint.read(newest)["ema"])
    recipe.to(device).eval()
    return torch.cat([recipe.drawn(part).float().clamp(0, 1) for part in views.parts(AT_ONCE)])


def judged(
    drawn: Mapping[str, Tensor], shown: HeldOut, finder: Finder | None, theirs: Brought
) -> dict[str, dict[str, list[float]]]:
    """Of each variant, each picture's figures by their names in METRICS."""
    truth, mask = shown.views.image[:, -1], shown.mask.float()
    points, valid = shown.views.points[:, -1].cpu(), shown.views.valid[:, -1].cpu()
    source, source_points = shown.views.image[:, 0].cpu(), shown.views.points[:, 0].cpu()
    known = bool(valid.all() and shown.views.valid[:, 0].all())
    found: dict[str, dict[str, list[float]]] = {}
    for name, pages in drawn.items():
        found[name] = {
            "l1": pictures.l1(pages, truth, mask).tolist(),
            "psnr": pictures.psnr(pages, truth, mask).tolist(),
            "ssim": pictures.ssim_gauss11(pages, truth, mask).tolist(),
        }
        if known:
            for judge in theirs.judges().values():
                found[name]["csim"] = judge(pages.cpu(), truth.cpu(), points).tolist()
            for apart in theirs.of_sources().values():
                found[name]["aced"] = apart(pages.cpu(), points, source, source_points).tolist()
    if finder is not None and bool(valid.all()):
        true = finder(truth.cpu(), points)
        # A face that is there and isn't seen still lies where it lies.
        own = points[:, list(LANDMARKS_68), :2]
        places = torch.where(true.valid.view(-1, 1, 1), true.points, own)
        looks = {name: finder(pages.cpu(), points) for name, pages in drawn.items()}
        for name, distances in distances_of(looks, places).items():
            found[name]["akd"] = distances
    return found


def distances_of(looks: Mapping[str, Found], places: Tensor) -> dict[str, list[float]]:
    """AKD of each picture of every variant, all in one call: the worst that anybody reaches is what a picture
    without a face counts for. places: B×68×2, the true ones."""
    rows = akd_l2_256(
        torch.cat([look.points for look in looks.values()]),
        places.repeat(len(looks), 1, 1),
        torch.cat([look.valid for look in looks.values()]),
    )
    return dict(zip(looks, rows.view(len(looks), -1).tolist(), strict=True))


def _finished(settings: Settings) -> bool:
    """Was that run made to its end? Raises ValueError where the folder holds one with other settings."""
    assert settings.output is not None
    file = settings.output / SETTINGS
    if not file.exists():
        return False
    there, asked = read_json(file)["settings"], plain(settings)
    for key, value in asked.items():
        if key not in FREE and there.get(key) != value:
            raise ValueError(
                f"{settings.output} was trained with {key} {there.get(key)}, not {value}: name another "
                "--output"
            )
    newest = checkpoint.latest(settings.output / "checkpoints")
    return newest is not None and int(checkpoint.read(newest)["pictures"]) >= settings.pictures


def _losses(settings: Settings, phases: Set[str]) -> dict[str, float]:
    """The phases' terms, of the log's last line."""
    assert settings.output is not None
    lines = [
        {
            term: float("nan") if value is None else value
            for term, value in line.items()
            if term.partition("/")[0] in phases and not term.endswith("/gradient")
        }
        for line in read_log(settings.output / LOG)
    ]
    return next((line for line in reversed(lines) if line), {})


def _write(
    folder: Path,
    title: str,
    notes: Sequence[str],
    rows: Mapping[str, Row],
    drawn: Mapping[str, Tensor],
    shown: HeldOut,
    entry: recipes.Entry,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "table.md", as_markdown(title, notes, rows, entry.variants, entry.ablations))
    write_json(
        folder / "table.json",
        {"title": title, "notes": list(notes), **as_json(rows, entry.variants, entry.ablations)},
    )
    for metric, called in METRICS.items():
        values = {name: row.mean(metric) for name, row in rows.items() if metric in row.figures}
        if values and min(values.values()) >= 0:  # a cosine may be below
            _save(folder / f"bars-{metric}.png", bar_plot(values, f"{title}: {called}"))
    some = range(min(SHOWN, len(shown.people)))
    columns = {"source": shown.views.image[:, 0], "target": shown.views.image[:, -1], **drawn}
    page = [[column[row].float().cpu() for column in columns.values()] for row in some]
    enlarged = max(1, -(-LEAST_SIDE // shown.views.image.shape[-1]))
    _save(folder / "pictures.png", panel(page, list(columns), enlarged=enlarged))
    print((folder / "table.md").read_text(encoding="utf-8"))


def _save(path: Path, picture: Tensor) -> None:
    path.write_bytes(encode_picture(to_levels(picture), "png"))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit code 2 and one line for what can't be done, 130 after Ctrl-C, 0 after SIGTERM."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    parser = argparse.ArgumentParser(
        prog=f"{NAME} RECIPE",
        description="Train and judge a recipe's ablations. All options of trainer.train are known, too.",
        epilog=f"RECIPE: {', '.join(recipes.names())}; variants are listed where an unknown one is named.",
        allow_abbrev=False,
    )
    parser.add_argument("--names", nargs="+", default=[], help="variants; by default all")
    parser.add_argument("--output", type=Path, help="folder; by default runs/ablations-RECIPE")
    parser.add_argument("--people", type=int, default=64, help="held-out pictures to judge by")
    parser.add_argument("--landmarks", default="auto", help="auto, mediapipe, none, or a regressor's weights")
    parser.add_argument("--csim-synthetic", type=Path, help="weights of an IdentityEmbedder")
    if name in ("-h", "--help"):
        parser.print_help()
        return 0
    try:
        return reported(lambda: _asked_for(name, parser, rest), NAME)
    except Stopped as end:
        tell("stopped, and saved: the same command goes on from here", NAME)
        return INTERRUPTED if end.signal == signal.SIGINT else 0


def _asked_for(name: str, parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    ours, others = parser.parse_known_args(arguments)
    for option in OURS:
        if any(one.partition("=")[0] == option for one in others):
            raise ValueError(f"{option} is the table's own affair; --names and --output choose")
    if ours.people < 1:
        raise ValueError(f"people {ours.people}: expected at least 1")
    output = ours.output or Path("runs", f"ablations-{name}")
    asked = Asked(tuple(ours.names), output, ours.people, ours.landmarks, ours.csim_synthetic)
    run(name, asked, settings_of(name, others))


if __name__ == "__main__":
    sys.exit(main())
