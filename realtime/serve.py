"""Serve a live avatar.

    python -m realtime.serve --source face.png                                   # for this machine
    python -m realtime.serve --source face.png --host 0.0.0.0 --tls self-signed  # phones too

The way through this file is the way of a start: settings, port, model, portrait, engine, web application,
and, at SIGTERM or Ctrl-C, the same backwards.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from typing import Any

import segno
import torch
from aiohttp import web

from models.command_line import fail, parse
from models.native_messages import native_messages_muted
from realtime import __version__, _aiortc_compat
from realtime.app import make_app
from realtime.avatar import Avatar, Picture, Portrait
from realtime.batching import Batcher
from realtime.config import MAX_UPLOAD, Settings
from realtime.controls import ControlPanel
from realtime.devices import choose_device, choose_half, use_threads
from realtime.engine import Engine, Request
from realtime.engine_thread import EngineThread
from realtime.generators import compile_calls, device_of, make_generator, name_of, runs_in_torch
from realtime.ladder import sizes_up_to
from realtime.pictures import load_picture
from realtime.pipeline import Tracker
from realtime.roster import Roster
from realtime.session import Services
from realtime.stats import Metrics
from realtime.tls import lan_addresses, make_context
from realtime.tracker import DriverTracker

log = logging.getLogger(__name__)

PROGRAM = "reenact-serve"
CODEC_THREADS = 4  # at most; each encodes one session's frame at a time
WARM_UP_STEP_S = 0.1  # between the frames of the warm-up: less than any easing takes
SHUTDOWN_S = 2.0  # how long calls in hand may take when the server stops


def main(arguments: Sequence[str] | None = None) -> None:
    """The command. Ends with exit code 2 and one line where its user asked for what can't be."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--version" in arguments:  # before anything that is required
        print(__version__)
        return
    settings = parse(
        Settings,
        arguments,
        PROGRAM,
        "Serve a live avatar: a portrait that moves with your face.",
        repeated=True,
    )
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for chatty in ("aiortc", "aioice", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(
            logging.DEBUG if settings.log_level == "debug" else logging.WARNING
        )
    with ExitStack() as held:
        try:
            context = make_context(settings.tls)
            listener = held.enter_context(bind(settings.host, settings.port))
            with nullcontext() if settings.log_level == "debug" else native_messages_muted():
                engine, portrait = load(settings)
        except ValueError as error:
            fail(str(error), PROGRAM)
        for warning in portrait.warnings:
            log.warning("%s", warning)
        gc.collect()
        gc.freeze()  # all of this stays: the collector need not look at it again
        run(serve(settings, engine, portrait, listener, context))


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on that address. Callers wait until the server is ready. Raises ValueError where
    that can't be, in words for a user."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError:
        raise ValueError(f"host {host!r}: no such address") from None
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # with SO_REUSEADDR, two sockets may be bound to a port until one listens
    except OSError as error:
        listener.close()
        raise ValueError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another with --port"
        ) from None
    return listener


def load(settings: Settings) -> tuple[Engine, Portrait]:
    """The model, warm, and the portrait made ready. Raises ValueError for an unknown model, weights that are
    not its own, a missing device, or a source without a usable face."""
    device = choose_device(settings.device)
    use_threads(settings.threads)
    generator = make_generator(
        settings.model, settings.weights, len(settings.source), device, settings.precision, settings.backend
    )
    device = device_of(generator, device)
    half = choose_half(settings.precision, generator.spec, device)
    most = min(settings.max_batch, settings.max_sessions)
    if settings.compile:
        compile_calls(generator)
    pictures = [load_picture(path) for path in settings.source]
    try:
        engine = Engine(
            generator,
            device,
            settings.size,
            time.monotonic,
            half,
            slots=settings.max_sessions,
            buckets=sizes_up_to(most) if runs_in_torch(generator) else (),
        )
        portrait = engine.prepare(*pictures)
        engine.capture(portrait)
        # What is compiled for two fits more of them, too.
        warm_up(engine, portrait, pictures[0], range(1, 1 + min(most, 2 if settings.compile else 1)))
    except torch._dynamo.exc.BackendCompilerFailed as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"torch could not compile model {name_of(generator.spec)} ({reason}): leave --compile out"
        ) from None
    except torch.OutOfMemoryError:
        raise ValueError(
            f"not enough memory on {device} for model {name_of(generator.spec)} at {settings.canvas}, "
            "batch 1; try --device cpu or a smaller --canvas"
        ) from None
    return engine, portrait


def warm_up(engine: Engine, portrait: Portrait, picture: Picture, counts: Iterable[int] = (1,)) -> None:
    """Let the portrait drive itself, lose its face and find it again, so that nobody waits for what torch
    prepares at the first call. picture: the portrait's, the first where there are several. counts: how many
    of it at once, one after the other."""
    face = engine.as_driver(picture)
    for count in counts:
        avatars = [Avatar(portrait) for _ in range(count)]
        for frame, seen in enumerate((True, False, True)):
            driver = face._replace(valid=torch.tensor([seen]))
            engine.draw([Request(avatar, driver, frame * WARM_UP_STEP_S) for avatar in avatars])


def make_services(
    settings: Settings,
    engine: Engine,
    portrait: Portrait,
    make_tracker: Callable[[], Tracker] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Services:
    """What the sessions of a server share. The caller starts and stops the engine's thread, and shuts the
    pools."""
    spec = engine.generator.spec
    most = min(settings.max_batch, max(engine.captured, default=settings.max_batch))
    return Services(
        engine=engine,
        engine_thread=EngineThread(engine, Batcher(most, settings.batch_wait_ms / 1e3)),
        panel=ControlPanel(spec, settings.ceilings),
        portrait=portrait,
        metrics=Metrics(),
        make_tracker=make_tracker or (lambda: DriverTracker(spec.driving)),
        pool=ThreadPoolExecutor(max(2, min(settings.max_sessions, os.cpu_count() or 1)), "tracker"),
        portrait_pool=ThreadPoolExecutor(1, "portrait"),
        ice_servers=settings.ice_servers,
        max_upload=MAX_UPLOAD,
        clock=clock,
        debug_stamp=settings.debug_stamp,
    )


async def serve(
    settings: Settings,
    engine: Engine,
    portrait: Portrait,
    listener: socket.socket,
    context: ssl.SSLContext | None,
    make_tracker: Callable[[], Tracker] | None = None,
) -> None:
    """Serve until the process is told to stop; then tell the sessions, close them, and return. Ends the
    program with exit code 1 if the engine's thread dies: whoever runs it can then start it anew."""
    stop = asyncio.Event()
    _on_signals(stop.set)
    loop = asyncio.get_running_loop()
    # aiortc encodes in the loop's default executor, whose usual size is no measure of what codecs need.
    loop.set_default_executor(ThreadPoolExecutor(min(settings.max_sessions + 1, CODEC_THREADS), "codec"))
    _aiortc_compat.apply(settings.size.width, settings.size.height)
    services = make_services(settings, engine, portrait, make_tracker)
    roster = Roster(services, settings.max_sessions)
    thread = services.engine_thread
    thread.on_death = lambda: loop.call_soon_threadsafe(stop.set)
    thread.start()
    runner = web.AppRunner(make_app(settings, roster), access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.SockSite(runner, listener, ssl_context=context).start()
        announce(settings, listener.getsockname()[1])
        await stop.wait()
        log.info("stopping")
        await roster.close()
    finally:
        await runner.cleanup()
        thread.stop()
        services.pool.shutdown()
        services.portrait_pool.shutdown()
    if thread.died:
        raise SystemExit(1)


def announce(settings: Settings, port: int) -> None:
    """Print where to go. Other machines get the LAN address with the token, and phones a code to scan."""
    scheme = "https" if settings.tls else "http"
    fragment = f"#token={settings.bearer}" if settings.bearer else ""
    everywhere = settings.host in ("0.0.0.0", "::")
    hosts = (lan_addresses() or ["localhost"]) if everywhere else [settings.host]
    for host in hosts:
        print(f"Open {scheme}://{f'[{host}]' if ':' in host else host}:{port}/{fragment}", flush=True)
    if settings.loopback:
        return
    if not settings.tls:
        print("Other machines' browsers open a camera over HTTPS only: add --tls self-signed", flush=True)
        return
    segno.make(f"{scheme}://{hosts[0]}:{port}/{fragment}").terminal(compact=True)
    if settings.tls == "self-signed":
        print(
            "The browser will warn of the certificate, which was made just now: go on to the page.",
            flush=True,
        )


def _on_signals(stop: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it exists; it has no build for Windows."""
    if sys.platform == "win32":
        asyncio.run(work)
    else:
        import uvloop

        uvloop.run(work)


if __name__ == "__main__":
    main()
