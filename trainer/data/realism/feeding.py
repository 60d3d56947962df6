"""How long a training loop would wait for rendered clips that lie on the disk."""

import tempfile
from pathlib import Path

from trainer.data.dataset import ClipDataset
from trainer.data.loader import Loader, measure_wait
from trainer.data.realism.readings import Findings, Reading
from trainer.data.rendering import Rendering, render_clips

PART = "loader"
STEPS_S = {
    128: 0.5,
    256: 1.5,
}  # what a step of BATCH takes, by the pictures' size: a small network on two cores
BATCH = 16
MOST = 10.0  # percent of a step


def measure(clips: int, batches: int, seed: int, workers: int) -> Findings:
    """With `clips` clips, rendered for it into a folder that is deleted again."""
    readings = []
    for size, step_s in STEPS_S.items():
        with tempfile.TemporaryDirectory() as folder:
            asked = Rendering(Path(folder) / "clips", identities=clips, frames=4, size=size, seed=seed)
            for _ in render_clips(asked):
                pass
            loader = Loader(ClipDataset(asked.output), BATCH, seed=seed, workers=workers)
            wait = 100 * measure_wait(loader, step_s, batches)
        name = f"wait for data, {size}², steps of {step_s:g} s with {BATCH} samples of 2, {workers} workers"
        readings.append(Reading(PART, name, wait, "%", most=MOST))
    return Findings(readings, [])
