"""How many sessions at once a generator carries on a device.

    python -m realtime.bench sessions --model warp --sessions 1,2,4 --seconds 10

Recorded observations are played to the real engine, at a camera's pace. There is no tracker, codec or
network beside it, so a server carries fewer where it runs on the processor that does these, too. The weights
are random, and the pictures made: time does not depend on them.

    python -m realtime.bench sessions --model imf:light --against eager

plays two engines of one generator in turns: one with CUDA graphs, and one without.

Each generator has a process of its own, with an engine that has room for the largest count. A count is left
out where one before it lost more than half of its frames.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, Literal

from models import registry, weights
from models.contract import Reenactor
from realtime.batching import Batcher
from realtime.bench.costs import Failure, in_own_process, in_words, peak_mb
from realtime.bench.load import Frame, Load, carried, ratios, summed_up
from realtime.bench.networks import every
from realtime.bench.players import Players
from realtime.bench.recording import portrait, recording
from realtime.bench.report import cut, machine, short, table, write
from realtime.devices import Device, Precision, choose_device, choose_half, use_threads
from realtime.engine import Engine
from realtime.engine_thread import EngineThread
from realtime.framing import Canvas
from realtime.ladder import sizes_up_to

WARM_UP_S = 1.0  # of playing, which is not counted: longer than a driver's rest is looked at
GRAPHS = ("cuda",)  # devices on which there are graphs
TURNS = 4  # in which two engines play each count
AGAIN_S = 0.25  # of playing, likewise, of each turn but the first
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
    against: Literal["eager"] | None = None
    """eager: play an engine without CUDA graphs too, in turns with the other; twice as long."""
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

    def batcher(self, most: int | None = None) -> "Batcher[Any]":
        """What says which frames are drawn together. most: what the engine draws together."""
        return Batcher(min(self.max_batch, most or self.max_batch), self.batch_wait_ms / 1e3)

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
        if self.against and device not in GRAPHS:
            raise ValueError(f"--against eager: both would be eager: there are no CUDA graphs on {device}")
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
            "against": self.against,
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
        "loads": [asdict(load) | {"ratios": ratios(load)} for load in loads],
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
    engines = [_engine(generator, trial, sizes_up_to(settings.max_batch))]
    if settings.against:
        engines.append(_engine(generator, trial, ()))
    sources, frames = [portrait(engine) for engine in engines], recording(generator.spec.driving)
    for engine, source in zip(engines, sources, strict=True):
        engine.capture(source)
    for sessions in settings.counts:
        with ExitStack() as stack:
            players = []
            for engine, source in zip(engines, sources, strict=True):
                thread = EngineThread(engine, settings.batcher(max(engine.captured, default=None)))
                players.append(stack.enter_context(Players(thread, source, frames, sessions, settings.fps)))
            for one in players:
                one.begin()
            played = in_turns(players, settings)
        if errors := [frame.error for part in played for frame in part if frame.error is not None]:
            raise errors[0]
        after = peak_mb(trial.device)
        peak = None if before is None or after is None else after - before
        own, *others = (
            summed_up(part, sessions, len(part) / sessions / settings.fps, peak) for part in played
        )
        own = replace(own, captured=engines[0].captured)
        yield replace(own, against=others[0]) if others else own


def _engine(generator: Reenactor[Any, Any], trial: Trial, buckets: Sequence[int]) -> Engine:
    """With room for the largest count."""
    settings = trial.settings
    half = choose_half(settings.precision, generator.spec, trial.device)
    canvas, most = Canvas.parse(settings.canvas), settings.counts[-1]
    return Engine(generator, trial.device, canvas, half=half, slots=most, buckets=buckets)


def in_turns(players: Sequence[Players], settings: SessionsBench) -> list[list[Frame]]:
    """The frames of each engine's players, after those that are not counted. Two take turns, so that what
    else the machine does, and how warm it is, is the same for both."""
    warm_up, again = round(WARM_UP_S * settings.fps), round(AGAIN_S * settings.fps)
    turns = TURNS if len(players) > 1 else 1
    counted = ceil(round(settings.seconds * settings.fps) / turns)
    played: list[list[Frame]] = [[] for _ in players]
    for turn in range(turns):
        order = list(zip(players, played, strict=True))
        for one, frames in order if turn % 2 == 0 else reversed(order):
            frames += one.play(warm_up if turn == 0 else again, counted)
    return played


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
    if figures["against"]:
        print(f"\n{_compared(figures['models'])}")
        print("ratio: how many times as fast, and as many frames, with CUDA graphs; peak MB above is of both")
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


def _compared(models: Sequence[Mapping[str, Any]]) -> str:
    """The engine with CUDA graphs against that without."""
    rows = [("model", "sessions", "p50 ms", "eager", "ratio", "fps", "eager", "ratio")]
    for one in models:
        for load in one["loads"]:
            both, (faster, more) = (load, load["against"]), load["ratios"]
            delays = ("–" if each["delay_ms"] is None else short(each["delay_ms"][0]) for each in both)
            pace = (f"{each['fps_mean']:.1f}" for each in both)
            shares = ("–" if share is None else f"{share:.2f}" for share in (faster, more))
            rows.append((one["model"], str(load["sessions"]), *delays, next(shares), *pace, next(shares)))
    return table(rows, 1)


def together(batches: Mapping[int, int]) -> str:
    """How many sessions were drawn together, most of the frames first."""
    frames = sum(batches.values())
    often = sorted(batches.items(), key=lambda one: -one[1])
    told = [f"{batch}: {100 * count / frames:.0f} %" for batch, count in often[:SEVERAL]]
    return " ".join(told + ["…"] * (len(often) > SEVERAL)) or "–"
