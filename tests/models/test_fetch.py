"""The command that gets public weights, with a narrow network and a server of our own."""

import hashlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models import fetch, registry, weights
from models.fetch import ANIMALS, LIVEPORTRAIT, Published, main
from tests.models.authors import NAMES, Narrow, authored, written
from tests.models.hub import Hub, serving

PATHS = {part: file.path for part, file in LIVEPORTRAIT.files.items()}
PROGRAM = "python -m models.fetch: "


@pytest.fixture(scope="module")
def authors(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """A folder with the five files, and what is to come of them."""
    folder = tmp_path_factory.mktemp("authors")
    files, expected = authored()
    for part, path in written(files, folder).items():
        place = folder / PATHS[part]
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    return folder, expected


@pytest.fixture
def expected(authors: tuple[Path, dict[str, Tensor]]) -> dict[str, Tensor]:
    return authors[1]


@pytest.fixture
def folder(authors: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> Path:
    """Which a test may change."""
    return Path(shutil.copytree(authors[0], tmp_path / "files"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REENACT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, whose LivePortrait is a narrow one, as ours is."""
    held = {path: (folder / path).read_bytes() for path in PATHS.values()}
    published = {
        part: Published(path, len(held[path]), hashlib.sha256(held[path]).hexdigest())
        for part, path in PATHS.items()
    }
    monkeypatch.setitem(fetch.SOURCES, "liveportrait", replace(LIVEPORTRAIT, files=published))
    monkeypatch.setitem(registry._classes, "liveportrait", Narrow)
    monkeypatch.setattr("models.download.PAUSES_S", (0.0, 0.0))
    with serving(held) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server


def check(cache: Path, expected: Mapping[str, Tensor]) -> None:
    """The cache holds the weights, which need no telling where, and nothing else."""
    assert [path.name for path in cache.iterdir()] == ["liveportrait.safetensors"]
    network = weights.create("liveportrait")
    assert isinstance(network, Narrow)
    state = network.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.allclose(state[key], value, rtol=1e-5, atol=0) for key, value in expected.items())


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """What the command says in its one line."""
    assert main(["liveportrait", *arguments]) == code
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith(PROGRAM)
    assert sum(line.startswith(PROGRAM) for line in said) == 1
    return said[-1].removeprefix(PROGRAM)


def test_what_is_published() -> None:
    assert LIVEPORTRAIT.size == 522_320_239
    assert {part: file.name for part, file in LIVEPORTRAIT.files.items()} == NAMES
    hashes = [*LIVEPORTRAIT.others, *(file.sha256 for file in LIVEPORTRAIT.files.values())]
    assert len(set(hashes)) == 9
    assert all(len(bytes.fromhex(one)) == 32 for one in hashes)


# From the hub


def test_weights_are_fetched_once(
    hub: Hub, cache: Path, expected: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["liveportrait"]) == 0
    told = capsys.readouterr().out
    for word in (
        "KwaiVGI",
        "Licence: MIT",
        "InsightFace",
        "Origin: https://huggingface.co/KwaiVGI/LivePortrait",
    ):
        assert word in told
    assert sorted(hub.asked) == sorted((name, "") for name in NAMES.values())
    check(cache, expected)
    hub.asked.clear()
    assert main(["liveportrait"]) == 0
    assert "liveportrait.safetensors is there already" in capsys.readouterr().out
    assert not hub.asked


def test_dropped_connections_are_taken_up(hub: Hub, cache: Path, expected: dict[str, Tensor]) -> None:
    hub.drops = [5000, 700]
    assert main(["liveportrait"]) == 0
    name = NAMES["appearance"]
    assert hub.asked[:3] == [(name, ""), (name, "bytes=5000-"), (name, "bytes=5700-")]
    check(cache, expected)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Raises KeyboardInterrupt, also where these tests run in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_after_ctrl_c_only_the_rest_is_asked_for(
    hub: Hub, cache: Path, expected: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    """The third file's half is there, and its connection still stands."""
    over = threading.Event()
    whole = [len(hub.files[PATHS[part]]) for part in ("appearance", "motion")]
    hub.drops = [*whole, 5000]

    def interrupt() -> None:
        if not hub.drops:
            main_thread = threading.main_thread().ident
            assert main_thread is not None
            signal.pthread_kill(main_thread, signal.SIGINT)
            over.wait()

    hub.dropped = interrupt
    said = refused(capsys, code=130)
    over.set()
    assert said == "stopped; run it again to go on from here"
    assert not weights.cached("liveportrait").exists()
    there = (cache / "liveportrait.unfinished" / NAMES["warping"]).stat().st_size
    hub.asked.clear()
    assert main(["liveportrait"]) == 0
    begun = [(NAMES["warping"], f"bytes={there}-" if there else "")]
    assert hub.asked == [*begun, (NAMES["generator"], ""), (NAMES["stitching"], "")]
    check(cache, expected)


def test_another_file_on_the_hub_is_refused_and_fetched_anew(
    hub: Hub, cache: Path, expected: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    path = PATHS["motion"]
    right, hub.files[path] = hub.files[path], bytes(len(hub.files[path]))
    said = refused(capsys)
    assert said.startswith(f"{cache / 'liveportrait.unfinished' / NAMES['motion']}: SHA-256 ")
    assert said.endswith("removed, run it again")
    assert not weights.cached("liveportrait").exists()
    hub.files[path] = right
    hub.asked.clear()
    assert main(["liveportrait"]) == 0
    assert [name for name, _ in hub.asked][0] == NAMES["motion"]
    check(cache, expected)


@pytest.mark.parametrize("mishap", ["offline", "absent", "dropped"])
def test_who_cannot_reach_the_hub_is_told_what_to_put_where(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mishap: str
) -> None:
    if mishap == "offline":
        with serving({}) as gone:
            monkeypatch.setenv("HF_ENDPOINT", gone.address)
    elif mishap == "absent":
        del hub.files[PATHS["motion"]]
    else:
        hub.drops = [1000] + [0] * 9
    said = refused(capsys)
    reasons = {
        "offline": "Connection refused",
        "absent": "answers 404",
        "dropped": "the connection ended early",
    }
    assert reasons[mishap] in said
    assert all(path in said for path in PATHS.values())
    assert "https://huggingface.co/KwaiVGI/LivePortrait" in said
    assert said.endswith("python -m models.fetch liveportrait --from FOLDER")
    assert not weights.cached("liveportrait").exists()


def test_a_full_disk_is_noticed_before_and_meanwhile(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = shutil.disk_usage(cache.parent)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000_000))
        said = refused(capsys)
    assert said.startswith(f"{cache}: ")
    assert "MB are needed there and 10 MB free" in said
    assert not hub.asked
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # Linux tells it by a signal, too
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        code = main(["liveportrait"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"{PROGRAM}{cache}: File too large"
    assert not weights.cached("liveportrait").exists()


def test_a_cache_that_cannot_be_is_named(hub: Hub, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache.write_text("a file")
    assert refused(capsys).startswith(f"{cache}")


def test_a_name_without_public_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["imf"]) == 2
    said = capsys.readouterr().err
    assert said == f"{PROGRAM}model 'imf' has no public weights; known: liveportrait\n"
    with pytest.raises(SystemExit, match="2"):
        main([])


# From a folder


def test_files_that_are_there_are_taken_and_left(
    hub: Hub, cache: Path, folder: Path, expected: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["liveportrait", "--from", str(folder)]) == 0
    assert capsys.readouterr().err == ""
    assert not hub.asked
    assert all((folder / path).is_file() for path in PATHS.values())
    check(cache, expected)


def test_a_file_saved_anew_is_taken_with_a_word(
    hub: Hub, cache: Path, folder: Path, expected: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    """Even where it came out shorter."""
    path = folder / PATHS["generator"]
    held = torch.load(path, weights_only=True)
    size = path.stat().st_size
    torch.save(held, path, _use_new_zipfile_serialization=False)
    assert path.stat().st_size < size
    assert main(["liveportrait", "--from", str(folder)]) == 0
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"{PROGRAM}warning: {path}: its keys fit, but it is not the published file")
    check(cache, expected)


def test_a_file_of_other_weights_is_refused(
    hub: Hub, cache: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(folder / PATHS["warping"], folder / PATHS["generator"])
    said = refused(capsys, "--from", str(folder))
    assert said.startswith(f"{folder / PATHS['generator']}: ")
    assert "LivePortrait's module generator expects" in said
    assert not cache.exists()


@pytest.mark.parametrize("part", ["generator", "motion"])
def test_a_file_cut_short_is_called_so(
    hub: Hub, cache: Path, folder: Path, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    """Zipped and not."""
    path = folder / PATHS[part]
    size = path.stat().st_size
    os.truncate(path, 30_000)
    assert refused(capsys, "--from", str(folder)) == f"{path}: cut short, 30,000 of {size:,} bytes"
    assert not cache.exists()


def test_files_that_are_missing_are_named(
    hub: Hub, cache: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("motion", "stitching"):
        (folder / PATHS[part]).unlink()
    said = refused(capsys, "--from", str(folder))
    assert said.startswith(
        f"{folder} has no {NAMES['motion']}, no {NAMES['stitching']}: get {PATHS['appearance']}"
    )
    assert said.endswith("--from FOLDER")
    assert refused(capsys, "--from", str(folder / "none")) == f"{folder / 'none'}: there is no such folder"


def test_of_two_files_of_a_name_none_is_preferred(
    hub: Hub, cache: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = folder / PATHS["motion"], folder / "old" / NAMES["motion"]
    second.parent.mkdir()
    shutil.copy(first, second)
    said = refused(capsys, "--from", str(folder))
    assert said == f"{first} and {second} are both there: name the folder of one with --from"


def test_the_models_of_animals_are_told_by_hash(
    hub: Hub, cache: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their keys and shapes are the same."""
    path = folder / PATHS["warping"]
    torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)
    source = replace(fetch.SOURCES["liveportrait"], others={weights.file_sha256(path): ANIMALS})
    monkeypatch.setitem(fetch.SOURCES, "liveportrait", source)
    said = refused(capsys, "--from", str(folder))
    assert said.startswith(f"{path}: of LivePortrait's model of animals, whose keys are the same; expected")
    assert not cache.exists()


def test_the_models_of_animals_are_told_by_folder(
    hub: Hub, cache: Path, folder: Path, expected: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside the people's, as in the authors' repository, they are none of our business."""
    animals = folder / "liveportrait_animals"
    shutil.copytree(folder / "liveportrait", animals)
    said = refused(capsys, "--from", str(animals))
    assert said.startswith(
        f"{animals / 'base_models' / NAMES['appearance']}: of LivePortrait's model of animals"
    )
    assert main(["liveportrait", "--from", str(folder)]) == 0
    check(cache, expected)


# The cache


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("REENACT_CACHE", str(tmp_path / "own"))
    assert weights.cached("imf:light") == tmp_path / "own" / "imf-light.safetensors"
    monkeypatch.setenv("REENACT_CACHE", "~/own")
    assert weights.cached("imf") == tmp_path / "home" / "own" / "imf.safetensors"
    monkeypatch.delenv("REENACT_CACHE")
    assert weights.cached("imf") == tmp_path / "xdg" / "reenact" / "imf.safetensors"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert weights.cached("imf") == tmp_path / "home" / ".cache" / "reenact" / "imf.safetensors"


def test_an_empty_cache_names_the_command(hub: Hub) -> None:
    with pytest.raises(
        ValueError, match="python -m models.fetch liveportrait gets the public ones"
    ) as caught:
        weights.create("liveportrait")
    assert "--weights FILE, or --weights random" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_in_the_cache_is_checked_as_any_file_is(hub: Hub, cache: Path) -> None:
    cache.mkdir()
    weights.cached("liveportrait").write_bytes(b"<!doctype html>")
    with pytest.raises(ValueError, match="liveportrait.safetensors: a web page; expected safetensors"):
        weights.create("liveportrait")
