"""Rendering into a folder: shared, interrupted, refused."""

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.data.pretender import contents, folder, prepare, render
from trainer.data.clips import read_index
from trainer.data.dataset import ClipDataset
from trainer.data.progress import Progress, shown
from trainer.data.rendered import RENDERER
from trainer.data.rendering import Rendering, index_rendered, render_clips
from trainer.data.workers import fresh_processes

CLIPS = 24


def asked(output: Path, **changed: Any) -> Rendering:
    usual: dict[str, Any] = {"identities": CLIPS, "frames": 4, "size": 32, "workers": 1}
    return Rendering(output, **usual | changed)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A folder that nothing happened to."""
    found = contents(folder(tmp_path_factory.mktemp("whole"), identities=CLIPS))
    assert len(found) == 2 + CLIPS * (2 * 4 + 2)
    return found


def test_a_preparation_that_is_killed_again_and_again_ends_as_if_nothing_had_been(
    whole: dict[str, bytes], tmp_path: Path
) -> None:
    """By a signal that nobody can catch, at moments drawn at random: before the first file, while they are
    written, and between them."""
    moments, kills, folders = random.Random(0), 0, 0
    while kills < 6:
        output = tmp_path / str(folders)  # a run may be done before its time has come
        folders += 1
        while not (output / "index.json").exists():
            until = count(output) + moments.randrange(60)
            process = fresh_processes().Process(target=prepare, args=(asked(output),))
            process.start()
            while process.is_alive() and count(output) < until:
                process.join(moments.uniform(0, 0.003))
            process.kill()
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL)  # a run that goes on finds nothing wrong
            kills += process.exitcode != 0
            process.close()
        prepare(asked(output))
        assert contents(output) == whole
        assert len(read_index(output).clips) == CLIPS


def count(path: Path) -> int:
    """Files below a folder in which somebody else is at work."""
    return sum(len(files) for _, _, files in os.walk(path))


def test_workers_make_the_same_folder(whole: dict[str, bytes], tmp_path: Path) -> None:
    prepare(asked(tmp_path, workers=2))
    assert contents(tmp_path) == whole


def test_ranks_make_the_same_folder(
    whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in (2, 0, 1):
        assert not (tmp_path / "index.json").exists()
        monkeypatch.setenv("RANK", str(rank))
        steps = list(render_clips(asked(tmp_path), render))
        assert steps == [Progress(done, 8, done) for done in range(9)]
    assert contents(tmp_path) == whole


def test_what_is_there_is_not_rendered_again(tmp_path: Path) -> None:
    prepare(asked(tmp_path))
    steps = list(render_clips(asked(tmp_path), no_more))
    assert steps == [Progress(CLIPS, CLIPS, 0)]


def no_more(*numbers: Any) -> Any:
    raise AssertionError(f"rendered again: {numbers}")


def scarce(*numbers: Any) -> Any:
    if numbers[1] == 5:
        raise OSError(28, "No space left on device", "/data")
    return render(*numbers)


def test_what_was_written_before_a_fault_stays(whole: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        list(render_clips(asked(tmp_path), scarce))
    assert len(index_rendered(asked(tmp_path)).clips) == 5
    assert len(ClipDataset(tmp_path)) == 5
    prepare(asked(tmp_path))
    assert contents(tmp_path) == whole


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"size": 64}, "size 32, not 64"),
        ({"seed": 1}, "seed 0, not 1"),
        ({"identities": 5}, f"identities {CLIPS}, not 5"),
        ({"style": "talking"}, "style None, not talking"),
        ({"maps": ("flow",)}, r"maps \[\], not \['flow'\]"),
        ({"picture": "png"}, "picture jpg, not png"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, changed: dict[str, Any], reason: str) -> None:
    asked(tmp_path).writer()
    with pytest.raises(ValueError, match=f"was begun with {reason}"):
        list(render_clips(asked(tmp_path, **changed), no_more))
    with pytest.raises(ValueError, match=f"was begun with {reason}"):
        index_rendered(asked(tmp_path, **changed))


def test_another_renderer_s_clips_are_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(tmp_path).writer()
    monkeypatch.setattr("trainer.data.rendering.RENDERER", RENDERER + 1)
    with pytest.raises(ValueError, match=f"was begun with renderer {RENDERER}, not {RENDERER + 1}: name"):
        list(render_clips(asked(tmp_path), no_more))


def test_more_ranks_than_clips_have_nothing_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "2")
    assert list(shown(render_clips(asked(tmp_path, identities=2), no_more))) == [Progress(0, 0, 0)]


def test_more_hands_are_no_other_settings(tmp_path: Path) -> None:
    asked(tmp_path).writer()
    asked(tmp_path, workers=7, device="cuda", index_only=True).writer()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"identities": 0}, "identities 0: expected at least 1"),
        ({"clips_per_identity": 0}, "clips-per-identity 0: expected at least 1"),
        ({"size": 8}, "size 8: expected 16 to 4096 pixels"),
        ({"workers": -1}, "workers -1: expected at least 0"),
        ({"style": "taking"}, "unknown style of motion 'taking': use one of talking, "),
    ],
)
def test_numbers_that_make_no_sense_are_refused(tmp_path: Path, changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        asked(tmp_path, **changed)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_missed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="device cuda: torch sees no GPU here"):
        list(render_clips(asked(tmp_path, device="cuda"), render))
