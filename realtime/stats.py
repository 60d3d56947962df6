"""What a server counts: for Prometheus over all sessions, and for each session's page over the last
second."""

from collections import defaultdict
from collections.abc import Mapping
from statistics import median

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0)
FATES = ("received", "dropped", "skipped", "sent")


class Metrics:
    """The server's counters, in a registry of their own so that several servers fit in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sessions = Gauge("reenact_sessions", "Sessions open now.", registry=self.registry)
        self.ended = Counter(
            "reenact_sessions_ended", "Sessions ended, by reason.", ["reason"], registry=self.registry
        )
        self.refused = Counter(
            "reenact_refused", "Requests refused, by status.", ["status"], registry=self.registry
        )
        self.frames = Counter(
            "reenact_frames", "Driving frames, by what became of them.", ["fate"], registry=self.registry
        )
        self.faces_lost = Counter(
            "reenact_faces_lost", "Times a driver's face was lost.", registry=self.registry
        )
        self.stages = Histogram(
            "reenact_stage_seconds",
            "Time that a frame spends in a stage.",
            ["stage"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        for fate in FATES:
            self.frames.labels(fate)

    def render(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


class Figures:
    """One session's counts since it began, and rates and medians since they were last reported."""

    def __init__(self, metrics: Metrics, now_s: float) -> None:
        self.counts = dict.fromkeys(FATES, 0)
        self._metrics = metrics
        self._since_s = now_s
        self._before = dict(self.counts)
        self._stages_ms: dict[str, list[float]] = defaultdict(list)
        self._delays_ms: list[float] = []

    def count(self, fate: str, frames: int = 1) -> None:
        """Note what became of some frames."""
        if frames:
            self.counts[fate] += frames
            self._metrics.frames.labels(fate).inc(frames)

    def stages(self, stages_ms: Mapping[str, float]) -> None:
        """Note how long a frame took in some stages."""
        for stage, took_ms in stages_ms.items():
            self._stages_ms[stage].append(took_ms)
            self._metrics.stages.labels(stage).observe(took_ms / 1e3)

    def delay(self, delay_ms: float) -> None:
        """Note how long a frame took from the decoded driving frame to the encoder."""
        self._delays_ms.append(delay_ms)
        self._metrics.stages.labels("total").observe(delay_ms / 1e3)

    def report(self, now_s: float) -> dict[str, object]:
        """The figures as the page gets them; starts the next period."""
        period_s = max(now_s - self._since_s, 1e-3)
        rates = {fate: (self.counts[fate] - self._before[fate]) / period_s for fate in FATES}
        report: dict[str, object] = {
            "inFps": round(rates["received"], 1),
            "outFps": round(rates["sent"], 1),
            **self.counts,
            "delayMs": round(median(self._delays_ms), 1) if self._delays_ms else None,
            "stagesMs": {stage: round(median(values), 2) for stage, values in self._stages_ms.items()},
        }
        self._since_s, self._before = now_s, dict(self.counts)
        self._stages_ms.clear()
        self._delays_ms.clear()
        return report
