"""The server as a process: what it tells its user, and how it ends."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch._inductor import config as inductor

from models import registry
from realtime.config import Settings
from realtime.devices import choose_device
from realtime.engine import Engine, Rendered, Request
from realtime.pictures import load_picture
from realtime.serve import bind, load, main, make_services, warm_up
from tests.fakes import FlatTracker
from tests.flat import Flat, FlatEngine, flat_picture
from tests.gpu.recorder import Recorder
from tests.live import PATIENCE_S, peer_of

ROOT = Path(__file__).parents[2]
MONA_LISA = ROOT / "tests" / "media" / "mona_lisa.jpg"


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says when it leaves with exit code 2: one line."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    said = capfd.readouterr().err
    assert end.value.code == 2
    assert said.count("\n") == 1, said
    assert said.startswith("reenact-serve: ")
    return said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "--source"),
        (("--source", "x", "--nonsense"), "--nonsense"),
        (("--source", "x", "--port", "many"), "--port"),
        (("--source", "x", "--port", "70000"), "port 70000"),
        (("--source", "x", "--device", "abacus"), "abacus"),
        (("--source", "x", "--device", "mps"), "device mps"),
        (("--source", "x", "--canvas", "512"), "WxH"),
        (("--source", "x", "--canvas", "511x512"), "even"),
        (("--source", "x", "--max-sessions", "0"), "max-sessions"),
        (("--source", "x", "--driver-pixels", "all"), "all"),
        (("--source", "x", "--ice-server", "http://a"), "ice-server"),
        (("--source", "x", "--tls", "one.pem"), "tls"),
        (("--source", "x", "--tls", "no.pem,no.key"), "no.pem"),
        (("--source", "x", "--token", "two words"), "token"),
        (("--source", "x", "--host", "no.such.host.invalid"), "no.such.host.invalid"),
        (("--source", "x", "--port", "0", "--model", "nonesuch"), "known: "),
        (("--source", "/no/such/picture.png", "--port", "0"), "/no/such/picture.png"),
        (("--source", str(ROOT / "pyproject.toml"), "--port", "0"), "not a picture"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    arguments: tuple[str, ...], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert reason in refused(capfd, *arguments)


def test_a_source_without_a_face_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "grey.png"
    Image.fromarray(flat_picture(128, 400, 400)).save(file)
    assert "no face found" in refused(capfd, "--source", str(file), "--port", "0")


def test_a_port_in_use_is_told(taken_port: int, capfd: pytest.CaptureFixture[str]) -> None:
    said = refused(capfd, "--source", "x", "--port", str(taken_port))
    assert str(taken_port) in said
    assert "--port" in said


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert not end.value.code
    said = capsys.readouterr().out
    for option in (
        "source", "model", "device", "host", "port", "tls", "max-sessions", "canvas", "driver-pixels",
        "debug-stamp", "token", "ice-server", "threads", "log-level", "version",
    ):  # fmt: skip
        assert f"--{option}" in said


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("cpu") == "cpu"
    with pytest.raises(ValueError, match="cuda"):
        choose_device("cuda")


def test_a_device_without_enough_memory_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def full(self: FlatEngine, *arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    file = tmp_path / "face.png"
    Image.fromarray(flat_picture(120)).save(file)
    monkeypatch.setattr("realtime.serve.Engine", FlatEngine)
    monkeypatch.setattr(FlatEngine, "draw", full)
    said = refused(capfd, "--source", str(file), "--model", "flat", "--canvas", "128x64", "--port", "0")
    assert "memory on cpu for model flat at 128x64, batch 1" in said


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")  # torch uses its own
def test_a_compiler_that_is_missing_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Torch looks for it when it first compiles."""
    file = tmp_path / "face.png"
    Image.fromarray(flat_picture(120)).save(file)
    monkeypatch.setattr("realtime.serve.Engine", FlatEngine)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    options = ("--source", str(file), "--model", "flat", "--canvas", "128x64", "--port", "0", "--compile")
    with inductor.patch({"cpp.cxx": (None, "/no/such/compiler")}):
        said = refused(capfd, *options)
    assert "torch could not compile model flat (InvalidCxxCompiler" in said
    assert "leave --compile out" in said


@pytest.mark.parametrize("compiled", [False, True])
def test_graphs_and_batches_are_as_large_as_sessions_can_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiled: bool
) -> None:
    """What is compiled is compiled for one, and for several, before anybody comes."""
    cuda, drawn = Recorder(), []

    class Noting(FlatEngine):
        def __init__(self, *settings: Any, **others: Any) -> None:
            super().__init__(*settings, **others, cuda=cuda)

        def draw(self, requests: Sequence[Request]) -> list[Rendered]:
            drawn.append(len(requests))
            return super().draw(requests)

    file = tmp_path / "face.png"
    Image.fromarray(flat_picture(120)).save(file)
    monkeypatch.setattr("realtime.serve.Engine", Noting)
    monkeypatch.setattr("realtime.generators.torch.compile", lambda call: call)
    settings = Settings(
        source=(file,), model="flat", canvas="128x64", max_sessions=6, max_batch=8, compile=compiled
    )
    engine, portrait = load(settings)
    assert engine.captured == (1, 2, 4, 6)
    assert set(drawn) == ({1, 2} if compiled else {1})
    services = make_services(settings, engine, portrait, FlatTracker)
    assert services.engine_thread._batcher._most == 6


def test_a_free_port_is_taken() -> None:
    with bind("127.0.0.1", 0) as listener:
        assert listener.getsockname()[1] > 0


def test_a_second_server_is_told_while_the_first_still_starts() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port}"):
            bind("127.0.0.1", port)


class Watched(Flat):
    """Notes which of its calls were made."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name in PATH:
            self.calls.append(name)
        return super().__getattribute__(name)


PATH = ("encode_structure", "neutral", "transfer", "blend", "decode")


def test_the_whole_path_is_warm_before_the_first_driver_comes() -> None:
    generator = Watched()
    engine = FlatEngine(generator)
    picture = flat_picture(120)
    portrait = engine.prepare(picture)
    generator.calls.clear()
    warm_up(engine, portrait, picture)
    assert set(generator.calls) == set(PATH)


def test_the_portraits_own_face_serves_as_a_driver() -> None:
    engine = Engine(registry.get("warp")())
    seen = engine.as_driver(load_picture(MONA_LISA))
    assert bool(seen.valid[0])
    assert seen.image.shape[-1] == engine.generator.spec.driving.size


@asynccontextmanager
async def process(
    *arguments: str, module: str = "tests.serve_flat", stderr: int | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A server process and the address that it printed."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        "--port",
        "0",
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
    )
    assert running.stdout is not None
    try:
        async with asyncio.timeout(3 * PATIENCE_S):
            line = (await running.stdout.readline()).decode()
        yield running, line.removeprefix("Open ").strip()
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_sigterm_tells_the_sessions_and_ends_with_code_0(
    number: signal.Signals, loopback_ice: None
) -> None:
    async with process() as (running, address), peer_of(address) as peer:
        assert (await peer.publish()).status == 201
        await peer.message("hello")
        peer.camera.push(flat_picture(120))
        running.send_signal(number)
        assert (await peer.message("closing"))["reason"] == "shutdown"
        async with asyncio.timeout(PATIENCE_S):
            assert await running.wait() == 0


async def test_a_server_whose_engine_dies_tells_the_sessions_and_ends_with_code_1(loopback_ice: None) -> None:
    told = asyncio.subprocess.PIPE
    async with process(stderr=told) as (running, address), peer_of(address) as peer:
        assert (await peer.publish()).status == 201
        await peer.message("hello")
        peer.camera.push(flat_picture(120))
        assert (await peer.http.get("/readyz")).status == 200
        peer.camera.push(flat_picture(245))
        assert (await peer.message("closing"))["reason"] == "shutdown"
        async with asyncio.timeout(PATIENCE_S):
            assert await running.wait() == 1
        assert running.stderr is not None
        assert "the engine's thread has died" in (await running.stderr.read()).decode()


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
async def test_a_call_that_never_ends_does_not_hold_up_the_end() -> None:
    async with process() as (running, address), peer_of(address) as peer:
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        _, caller = await asyncio.open_connection(host, int(port))
        caller.write(b"POST /whip HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\n")
        caller.write(b"Content-Length: 1000\r\n\r\nv=0")
        await caller.drain()
        assert (await peer.http.get("/healthz")).status == 200  # by then the server is reading the other call
        running.terminate()
        async with asyncio.timeout(PATIENCE_S):
            assert await running.wait() == 0
        caller.close()


async def test_another_address_prints_a_token_in_the_fragment() -> None:
    async with process("--host", "0.0.0.0") as (_, address):
        assert re.search(r":\d+/#token=[\w-]{16,}$", address)


async def test_several_faces_are_told_in_the_log(tmp_path: Path) -> None:
    picture = load_picture(MONA_LISA)
    file = tmp_path / "two.png"
    Image.fromarray(np.hstack([picture, picture])).save(file)
    told = asyncio.subprocess.PIPE
    async with process("--source", str(file), module="realtime.serve", stderr=told) as (running, _):
        running.terminate()
        _, said = await running.communicate()
    assert "there are 2 faces in the source picture: the largest is taken" in said.decode()


async def test_the_real_server_starts_and_stops() -> None:
    async with process("--source", str(MONA_LISA), module="realtime.serve") as (running, address):
        async with peer_of(address) as peer:
            assert (await peer.http.get("/readyz")).status == 200
            assert (await (await peer.http.get("/api/config")).json())["model"] == "warp"
        running.terminate()
        async with asyncio.timeout(PATIENCE_S):
            assert await running.wait() == 0
