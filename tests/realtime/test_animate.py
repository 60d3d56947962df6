"""The offline tool, mostly with a generator of one flat colour: its green tells how bright the driver is."""

import os
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

import tests.fakes  # noqa: F401  (registers the generator `flat`)
from models.contract import EDITS
from models.face_tracker import FaceTracker
from realtime.animate import Animation, animate, even, main
from realtime.footage import open_footage
from tests.material import ASTRONAUT, GRID_CLIP, MONA_LISA, frames, picture

LIMIT_S = 60.0  # after which a program that should have ended is taken for stuck
SPOT = (250, 290)  # row and column in the middle of the Mona Lisa's face
EMPTY = np.full((288, 360, 3), 90, np.uint8)


def write_clip(path: Path, pictures: list[np.ndarray], pts: list[int] | None = None) -> Path:
    """Those pictures at those 25ths of a second."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for at, image in zip(pts or range(len(pictures)), pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = at
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def settings(tmp_path: Path, driving: Path, **options) -> Animation:
    values = {"source": (MONA_LISA,), "output": tmp_path / "out.mp4", "model": "flat", "device": "cpu"}
    return Animation(**{**values, "driving": driving, **options})


def command(tmp_path: Path, *arguments: str, driving: Path = GRID_CLIP, source: Path = MONA_LISA) -> None:
    paths = "--source", str(source), "--driving", str(driving), "--output", str(tmp_path / "out.mp4")
    main([*paths, "--model", "flat", "--device", "cpu", *arguments])


def written(path: Path) -> tuple[list[np.ndarray], list[float]]:
    """Pictures and times, seconds."""
    with open_footage(path) as footage:
        seen = list(footage.frames())
    return [frame.picture for frame in seen], [frame.time_s for frame in seen]


def lip_gaps(pictures: list[np.ndarray]) -> np.ndarray:
    with FaceTracker() as faces:
        points = np.array([faces.track(image) for image in pictures])
    return np.linalg.norm(points[:, 13] - points[:, 14], axis=1) / np.linalg.norm(
        points[:, 33] - points[:, 263], axis=1
    )


def test_the_avatar_speaks_as_the_driver_does(tmp_path: Path):
    """The real generator, from the command line: the same times, the mouth in step, and the sound."""
    out = tmp_path / "out.mp4"
    main(["--source", str(ASTRONAUT), "--driving", str(GRID_CLIP), "--output", str(out), "--device", "cpu"])
    pictures, times = written(out)
    driving, driving_times = written(GRID_CLIP)
    assert times == driving_times
    assert pictures[0].shape == picture(ASTRONAUT).shape
    assert np.corrcoef(lip_gaps(pictures), lip_gaps(driving))[0, 1] > 0.9
    with av.open(str(out)) as result, av.open(str(GRID_CLIP)) as original:
        sounds = [[bytes(p) for p in c.demux(audio=0) if p.size] for c in (result, original)]
    assert sounds[0] == sounds[1]


def test_a_variable_frame_rate_is_kept(tmp_path: Path):
    pts = [0, 1, 2, 10, 11, 40]
    driving = write_clip(tmp_path / "drive.mp4", frames(GRID_CLIP, most=6), pts)
    report = animate(settings(tmp_path, driving))
    assert (report.frames, report.faceless) == (6, 0)
    assert written(tmp_path / "out.mp4")[1] == pytest.approx([at / 25 for at in pts])


def test_a_folder_of_pictures_drives_at_25_frames_a_second(tmp_path: Path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, frame in enumerate(frames(GRID_CLIP, most=12)):
        Image.fromarray(frame).save(folder / f"{index}.png")
    assert animate(settings(tmp_path, folder)).frames == 12
    assert written(tmp_path / "out.mp4")[1] == pytest.approx([index / 25 for index in range(12)])


def test_a_face_that_comes_late_and_leaves(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Before the first face the portrait is at rest; then it moves; when the face is gone it eases back."""
    faces = [np.clip(frame * 1.2, 0, 255).astype(np.uint8) for frame in frames(GRID_CLIP, most=12)]
    faces[1:] = [(frame * 0.6).astype(np.uint8) for frame in faces[1:]]
    driving = write_clip(tmp_path / "drive.mp4", [EMPTY] * 5 + faces + [EMPTY] * 30)
    command(tmp_path, driving=driving)
    assert capsys.readouterr().out.strip().endswith("out.mp4: 47 frames, 35 of them without a face")
    pictures, _ = written(tmp_path / "out.mp4")
    middle = np.array([image[*SPOT, 1] for image in pictures]).astype(int)
    assert np.ptp(middle[:5]) <= 2
    assert abs(middle[16] - middle[0]) > 20
    assert abs(middle[17] - middle[16]) <= 4
    assert abs(middle[-1] - middle[0]) <= 3
    assert np.abs(np.diff(middle[16:])).max() <= 8


def test_the_driver_is_never_shown(tmp_path: Path):
    """What the flat generator puts out has no blue; a driving frame would."""
    driving = write_clip(tmp_path / "drive.mp4", [EMPTY, *frames(GRID_CLIP, most=3), EMPTY])
    animate(settings(tmp_path, driving))
    for image in written(tmp_path / "out.mp4")[0]:
        assert image[*SPOT, 2] < 12


def test_no_face_in_the_whole_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    driving = write_clip(tmp_path / "drive.mp4", [EMPTY] * 3)
    with pytest.raises(SystemExit) as end:
        command(tmp_path, driving=driving)
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        "reenact-animate: no face found in any frame of the driving footage: "
        "use a clip whose face is upright and well lit\n"
    )
    assert not (tmp_path / "out.mp4").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["drive.mp4"]


@pytest.mark.parametrize("neutral", ["first", "auto", "8"])
def test_the_neutral_frame_is_shown_as_the_portrait_at_rest(tmp_path: Path, neutral):
    """The generator shows change of brightness, and in the neutral frame there is none."""
    dimmed = [frame * (0.4 + 0.05 * index) for index, frame in enumerate(frames(GRID_CLIP, most=12))]
    driving = write_clip(tmp_path / "drive.mp4", [frame.astype(np.uint8) for frame in dimmed])
    animate(settings(tmp_path, driving, neutral=neutral))
    animate(settings(tmp_path, driving, gain_expression=0.0, output=tmp_path / "rest.mp4"))
    moved, rest = (written(tmp_path / name)[0] for name in ("out.mp4", "rest.mp4"))
    away = [abs(int(a[*SPOT, 1]) - int(b[*SPOT, 1])) for a, b in zip(moved, rest, strict=True)]
    at_rest = [index for index, level in enumerate(away) if level <= 2]
    assert at_rest == {"first": [0], "8": [8]}.get(neutral, at_rest[:1])
    assert len(at_rest) == 1


def test_a_neutral_frame_without_a_face_or_beyond_the_end(tmp_path: Path):
    driving = write_clip(tmp_path / "drive.mp4", [EMPTY, *frames(GRID_CLIP, most=2)])
    with pytest.raises(ValueError, match="no face in the neutral frame: choose another with --neutral"):
        animate(settings(tmp_path, driving, neutral="0"))
    with pytest.raises(ValueError, match="has only 3 frames"):
        animate(settings(tmp_path, driving, neutral="3"))
    with pytest.raises(ValueError, match="write first, auto or the number of a frame"):
        settings(tmp_path, driving, neutral="-1")


def test_side_by_side(tmp_path: Path):
    driving = write_clip(tmp_path / "drive.mp4", frames(GRID_CLIP, most=2))
    animate(settings(tmp_path, driving, compare=True))
    (first, _), _ = written(tmp_path / "out.mp4")
    source = picture(MONA_LISA)
    height, width = source.shape[:2]
    assert first.shape == (height, 3 * width, 3)
    assert np.abs(first[:, :width].astype(int) - source).mean() < 4
    panel = first[:, width : 2 * width]
    assert panel[: height // 4].max() < 20
    assert panel[height // 2].mean() > 40
    assert first[SPOT[0], 2 * width + SPOT[1], 2] < 12


def test_an_odd_source_becomes_even(tmp_path: Path):
    odd = tmp_path / "odd.png"
    Image.fromarray(picture(ASTRONAUT)[:401, :511]).save(odd)
    driving = write_clip(tmp_path / "drive.mp4", frames(GRID_CLIP, most=2))
    animate(settings(tmp_path, driving, source=(odd,)))
    assert written(tmp_path / "out.mp4")[0][0].shape == (402, 512, 3)
    assert even(np.zeros((4, 6, 3), np.uint8)).shape == (4, 6, 3)


def test_a_clip_that_is_cut_short(tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog):
    short = tmp_path / "drive.mp4"
    short.write_bytes(GRID_CLIP.read_bytes()[: GRID_CLIP.stat().st_size * 2 // 3])
    command(tmp_path, driving=short)
    assert "the clip is damaged or cut short" in caplog.text
    count = len(written(tmp_path / "out.mp4")[0])
    assert 20 < count < 74
    assert f"out.mp4: {count} frames" in capsys.readouterr().out


def program(*arguments: object) -> list[str]:
    """The offline tool as a process of its own."""
    return [sys.executable, "-m", "realtime.animate", "--device", "cpu", *map(str, arguments)]


def test_warnings_reach_the_terminal_and_native_notes_do_not(tmp_path: Path):
    """Two faces in the portrait and a clip cut short: one line each, and nothing else."""
    short, both, out = tmp_path / "drive.mp4", tmp_path / "both.png", tmp_path / "out.mp4"
    short.write_bytes(GRID_CLIP.read_bytes()[: GRID_CLIP.stat().st_size // 3])
    Image.fromarray(np.hstack([picture(MONA_LISA)[:512], picture(ASTRONAUT)])).save(both)
    command = program("--source", both, "--driving", short, "--output", out)
    said = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True).stderr
    first, second = said.splitlines()
    assert first.startswith("reenact-animate: there are 2 faces in the source picture: ")
    assert second.startswith("reenact-animate: the clip is damaged or cut short: ")


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes with names, no SIGTERM")
def test_a_program_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path):
    """Told so while it waits for a frame that is a pipe which nobody fills."""
    folder, pictures = tmp_path / "out", tmp_path / "frames"
    folder.mkdir()
    pictures.mkdir()
    for index, frame in enumerate(frames(GRID_CLIP)):
        Image.fromarray(frame).save(pictures / f"{index}.png", compress_level=1)
    pipe = pictures / "999.png"
    os.mkfifo(pipe)
    command = program("--source", MONA_LISA, "--driving", pictures, "--output", folder / "out.mp4")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:

        def give_up() -> None:
            process.kill()
            os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))

        limit = threading.Timer(LIMIT_S, give_up)
        limit.start()
        with pipe.open("wb"):  # opens when the program wants to read it
            limit.cancel()
            unfinished = list(folder.iterdir())
            process.terminate()
            _, said = process.communicate(timeout=LIMIT_S)
    assert len(unfinished) == 1
    assert (process.returncode, said) == (143, "")
    assert list(folder.iterdir()) == []


def test_the_generator_takes_half_of_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As it does in the server: the other half tracks and codes."""
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    animate(settings(tmp_path, write_clip(tmp_path / "drive.mp4", frames(GRID_CLIP, most=2))))
    assert torch.get_num_threads() == 3


def test_sliders_go_both_ways(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    driving = write_clip(tmp_path / "drive.mp4", frames(GRID_CLIP, most=2))
    command(tmp_path, "--turn", "-0.5", "--smile", "1", driving=driving)
    assert "has no control turn, smile: left out" in caplog.text
    asked = settings(tmp_path, driving, turn=-0.5, smile=1.0)
    assert {name: asked.wishes[name] for name in EDITS} == dict(
        zip(EDITS, (-0.5, 0, 0, 0, 1, 0), strict=True)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nonsense"], "unknown model 'nonsense'; known: "),
        (["--eyes", "3"], "control eyes: must be from 0 to 2"),
        (["--turn", "left"], "turn"),
        (["--neutral", "sometimes"], "neutral 'sometimes': write first, auto or the number of a frame"),
        (["--output", "out.gif"], "output out.gif: its name must end in .mp4, .mov or .mkv"),
        (["--output", "/nowhere/out.mp4"], "there is no folder /nowhere"),
        (["--output", str(GRID_CLIP)], "would overwrite what it is made from"),
        (["--source", "none.png"], "none.png: there is no such file"),
        (["--driving", "none.mp4"], "none.mp4: there is no such file"),
        (["--driving", str(MONA_LISA.with_name("SOURCES.md"))], "is not a video"),
        (["--driver-pixels", "all"], "driver-pixels"),
    ],
)
def test_mistakes_end_with_one_line_and_code_2(tmp_path: Path, arguments, message, capsys):
    model = [] if "--model" in arguments or "--eyes" in arguments else ["--model", "flat"]
    paths = {"--source": str(MONA_LISA), "--driving": str(GRID_CLIP), "--output": str(tmp_path / "out.mp4")}
    given = [part for name, value in paths.items() if name not in arguments for part in (name, value)]
    with pytest.raises(SystemExit) as end:
        main([*given, *model, *arguments])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("reenact-animate: ")
    assert said.count("\n") == 1


def test_the_version(capsys: pytest.CaptureFixture[str]):
    main(["--version"])
    assert capsys.readouterr().out[0].isdigit()
