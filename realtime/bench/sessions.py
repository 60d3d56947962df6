"""How many sessions at once a generator carries on a device.

    python -m realtime.bench sessions --model warp --sessions 1,2,4 --seconds 10

Recorded observations are played to the real engine, at a camera's pace. There is no tracker, codec or
network beside it, so a server carries fewer where it runs on the processor that does these, too. The weights
are random, and the pictures made: time does not depend on them.

Each generator has a process of its own, with an engine that has room for the largest count. A count is left
out where one before it lost more than half of its frames.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models import registry, weights
from models.contract import Observation
from realtime.avatar import Avatar, Portrait
from realtime.batching import Batcher
from realtime.bench.costs import Failure, in_own_process, in_words, peak_mb
from realtime.bench.load import Frame, Load, carried, error_of, play, summed_up
from realtime.bench.networks import every
from realtime.bench.recording import FRAMES, portrait, recording
from realtime.bench.report import cut, machine, short, table, write
from realtime.devices import Device, Precision, choose_device, choose_half, use_threads
from realtime.engine import Engine, Rendered
from realtime.engine_thread import EngineThread
from realtime.framing import Canvas

WARM_UP_S = 1.0  # of playing, which is not counted: longer than a driver's rest is looked at
OFFSET = 7  # frames of the recording, from one session to the next
LOOK_S = 0.2  # whether the engine lives, while its first frames are waited for
MOST_DROPPED = 0.5  # of a count's frames, for more sessions to be worth trying
LEGEND = (
    "late: after it was due, a frame was submitted, p95; together: sessions drawn at once, share of frames"
)
SEVERAL = 2  # sizes of batches that the table names


@dataclass(frozen=True)
class SessionsBench:
    """Measure how many sessions at once a generator carries."""

    model: tuple[str, ...] = ()
    """Generator, as NAME or NAME:SIZE; may be given several times. All in all their sizes by default."""
    sessions: str = "1,2,4,8,16,32"
    """How many at once, one count after the other."""
    seconds: float = 10.0
    """How long each count is measured, after a second that is not."""
    fps: float = 30.0
    """Frames a second of each session."""
    canvas: str = "512x512"
    """Size of the avatars' video as WxH."""
    max_batch: int = 16
    """How many sessions' frames are drawn together at most, as the server's."""
    batch_wait_ms: float = 4.0
    """How long a frame waits for others to be drawn with, as the server's."""
    device: Device = "auto"
    """Where the generators run."""
    precision: Precision = "auto"
    """Of a network's numbers: float32, fp16 or bf16; auto takes fp16 on CUDA where that is known to do."""
    threads: int = 0
    """Processor threads for the generator on the CPU; 0 takes half of the cores, as the server does."""
    json: Path | None = None
    """File for the figures."""

    def __post_init__(self) -> None:
        for model in self.model:
            registry.parse(model)
        if not all(text.isdecimal() and int(text) for text in self.sessions.split(",")):
            raise ValueError(f"sessions {self.sessions!r}: write counts from 1 up, for instance 1,2,4")
        if not 0 < self.fps <= 1000:
            raise ValueError(f"fps {self.fps}: must be above 0, and 1000 at most")
        if not 1 <= self.seconds * self.fps < float("inf"):
            raise ValueError(f"seconds {self.seconds}: must be long enough for one frame")
        if self.threads < 0:
            raise ValueError(f"threads {self.threads}: must not be negative")
        Canvas.parse(self.canvas)
        self.batcher()

    def batcher(self) -> "Batcher[Any]":
        """What says which frames are drawn together."""
        return Batcher(self.max_batch, self.batch_wait_ms / 1e3)

    @property
    def counts(self) -> list[int]:
        """In ascending order, each once."""
        return sorted({int(text) for text in self.sessions.split(",")})

    def run(self) -> None:
        """Measure, write the JSON, print the table. Raises ValueError for a device or precision that can't
        be."""
        figures = self.measure()
        if self.json is not None:
            write(self.json, figures)
        show(figures)

    def measure(self) -> dict[str, Any]:
        """The figures. Raises ValueError for a device or precision that can't be."""
        device = choose_device(self.device)
        models = self.model or every()
        for model in models:
            choose_half(self.precision, registry.parse(model)[0].spec, device)
        use_threads(self.threads)
        figures: dict[str, Any] = {
            **machine(device),
            "fps": self.fps,
            "seconds": self.seconds,
            "canvas": self.canvas,
            "precision": self.precision,
            "max_batch": self.max_batch,
            "batch_wait_ms": self.batch_wait_ms,
            "models": [],
        }
        for model in models:
            found = in_own_process(attempt, Trial(self, model, device))
            figures["models"].append(told(model, self, found))
        return figures


def told(model: str, settings: SessionsBench, found: "Found | Failure") -> dict[str, Any]:
    """For the JSON. A failure without loads is that of the whole process."""
    loads, failure = ([], found) if isinstance(found, Failure) else found
    return {
        "model": model,
        "carried": carried(loads, settings.fps),
        "loads": [asdict(load) for load in loads],
        "left_out": settings.counts[len(loads) :],
        "failure": None if failure is None else asdict(failure),
    }


@dataclass(frozen=True)
class Trial:
    """What one process measures."""

    settings: SessionsBench
    model: str
    device: str


Found = tuple[list[Load], Failure | None]  # of the first counts, and why it is not of all


def attempt(trial: Trial) -> Found:
    """The loads of a generator, up to the count that is too much."""
    loads = []
    try:
        for load in measure(trial):
            loads.append(load)
            if load.dropped > MOST_DROPPED * load.frames and load.sessions < trial.settings.counts[-1]:
                why = f"with {load.sessions} at once more than half of the frames were dropped"
                return loads, Failure("left out", why)
    except ModuleNotFoundError as error:  # on a machine that has torch and numpy only
        return loads, Failure(f"no {error.name}", str(error))
    except RuntimeError as error:
        return loads, in_words(error, "failed")
    return loads, None


def measure(trial: Trial) -> Iterator[Load]:
    """One count of sessions after the other. Raises RuntimeError where torch can't, and ModuleNotFoundError
    where what a generator needs besides is not installed."""
    settings = trial.settings
    use_threads(settings.threads)
    before = peak_mb(trial.device)
    generator = weights.seeded(trial.model)
    half = choose_half(settings.precision, generator.spec, trial.device)
    canvas, most = Canvas.parse(settings.canvas), settings.counts[-1]
    engine = Engine(generator, trial.device, canvas, half=half, slots=most)
    source, frames = portrait(engine), recording(generator.spec.driving)
    warm_up, counted = round(WARM_UP_S * settings.fps), round(settings.seconds * settings.fps)
    for sessions in settings.counts:
        thread = EngineThread(engine, settings.batcher())
        with Players(thread, source, frames, sessions, settings.fps) as players:
            players.begin()
            played = players.play(warm_up, counted)
        if errors := [frame.error for frame in played if frame.error is not None]:
            raise errors[0]
        after = peak_mb(trial.device)
        peak = None if before is None or after is None else after - before
        yield summed_up(played, sessions, counted / settings.fps, peak)


class Players:
    """So many sessions of an engine, all with the same portrait, each somewhere else in the recording. At the
    context's end the engine's thread draws what it is at, and ends."""

    def __init__(
        self, thread: EngineThread, source: Portrait, frames: list[Observation], sessions: int, fps: float
    ) -> None:
        self._avatars = [Avatar(source) for _ in range(sessions)]
        self._frames, self._fps = frames, fps
        self._thread = thread
        self._number = 0  # of each session's next frame
        self._last: dict[int, Future[Rendered]] = {}  # of each session, what came of its newest frame

    def __enter__(self) -> "Players":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.stop()

    def begin(self) -> None:
        """Have first frames drawn, with all that is prepared once: it may take seconds. Raises what the
        engine raises."""
        for session in range(len(self._avatars)):
            self.submit(session, 0)
        self._number = 1
        self._settle()
        for future in self._last.values():
            if (error := error_of(future)) is not None:
                raise error

    def play(self, warm_up: int, frames: int) -> list[Frame]:
        """Go on with so many frames of each session, after `warm_up` that are not in what is returned; the
        engine is at rest afterwards."""
        first = self._number
        self._number += warm_up + frames + 1
        played = play(
            lambda session, number: self.submit(session, first + number),
            len(self._avatars),
            self._fps,
            warm_up,
            frames,
        )
        self._settle()
        return played

    def submit(self, session: int, number: int) -> "Future[Rendered]":
        """A session's next frame, of that number."""
        seen = self._frames[(number + OFFSET * session) % FRAMES]
        future = self._thread.submit(self._avatars[session], seen, number / self._fps)
        self._last[session] = future
        return future

    def _settle(self) -> None:
        """Wait until nothing is left to draw. Raises RuntimeError where the engine's thread has died: nothing
        becomes of any frame any more."""
        while wait(self._last.values(), LOOK_S).not_done:
            if self._thread.died:
                raise RuntimeError("the engine's thread has died")


def show(figures: Mapping[str, Any]) -> None:
    """Print the counts, what each generator carries, and why some counts failed."""
    on = f"{figures['device']}, {figures['cores']} cores, {figures['threads']} threads"
    pace = f"{figures['fps']:g} fps a session for {figures['seconds']:g} s, canvas {figures['canvas']}"
    print(f"{on}, torch {figures['torch']}, precision {figures['precision']}; {pace}")
    heads = ("sessions", "fps", "least", "p50 ms", "p95", "p99", "dropped", "late", "together", "peak MB")
    rows: list[tuple[str, ...]] = [("model", *heads)]
    failures = []
    for one in figures["models"]:
        rows += [(one["model"], *_cells(load)) for load in one["loads"]]
        if (failure := one["failure"]) is not None:
            first, last = one["left_out"][0], one["left_out"][-1]
            counts = f"{first}" if first == last else f"{first}–{last}"
            rows.append((one["model"], counts, *[""] * 7, failure["word"], ""))
            failures.append(f"{one['model']}, {counts} sessions: {failure['message']}")
    print(table(rows, 1))
    for line in failures:  # the JSON has the rest of them
        print(cut(line))
    print(LEGEND)
    print(f"\ncarried: the most sessions with no frame dropped and p95 under {1e3 / figures['fps']:.1f} ms")
    print(
        table([("model", "carried"), *((one["model"], str(one["carried"])) for one in figures["models"])], 1)
    )


def _cells(load: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(load["sessions"]),
        f"{load['fps_mean']:.1f}",
        f"{load['fps_least']:.1f}",
        *(("–",) * 3 if load["delay_ms"] is None else map(short, load["delay_ms"])),
        f"{load['dropped']}/{load['frames']}",
        short(load["late_ms"]),
        together(load["batches"]),
        "–" if load["peak_mb"] is None else f"{load['peak_mb']:.0f}",
    )


def together(batches: Mapping[int, int]) -> str:
    """How many sessions were drawn together, most of the frames first."""
    frames = sum(batches.values())
    often = sorted(batches.items(), key=lambda one: -one[1])
    told = [f"{batch}: {100 * count / frames:.0f} %" for batch, count in often[:SEVERAL]]
    return " ".join(told + ["…"] * (len(often) > SEVERAL)) or "–"
