"""Which way imports point: what must not be needed is not to be found, and everything still imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Refuses the modules of its first argument and imports those of the others.
PROBE = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"{name} must not be imported here", name=name)

refused = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Refuse())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""

MEDIA = ("aiortc", "aioice", "av", "aiohttp", "mediapipe", "cv2", "onnxruntime", "PIL")
INSTALLED = {
    "scipy",
    "tyro",
    "rich",
    "pydantic",
    "prometheus_client",
    "safetensors",
    "truststore",
    "uvloop",
}


def modules(package: str) -> list[str]:
    """Every module of one of our packages, by its dotted name."""
    files = (ROOT / package).rglob("*.py")
    names = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files
    ]
    return sorted(name for name in names if not name.endswith("__main__"))


def probe(refused: tuple[str, ...], names: list[str]) -> None:
    command = [sys.executable, "-c", PROBE, ",".join(refused), *names]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr


def test_models_need_only_torch_and_numpy() -> None:
    """Of everything installed, and of our own packages."""
    ours = {"realtime", "trainer"}
    names = modules("models")
    assert "models.contract" in names
    probe((*MEDIA, *sorted(INSTALLED | ours)), names)


def test_the_engine_runs_without_any_of_the_media_libraries() -> None:
    """So that a machine with a GPU and little else can measure it."""
    probe(
        (*MEDIA, "trainer"),
        ["realtime.engine", "realtime.framing", "realtime.bench.motion", "realtime.bench.fidelity"]
        + ["realtime.bench.sessions", "realtime.bench.gpu"],
    )


def test_generators_are_measured_with_torch_and_numpy_only() -> None:
    probe(
        (*MEDIA, *sorted(INSTALLED), "playwright", "trainer"),
        ["realtime.graphs", "realtime.bench.networks", "realtime.bench.sessions", "realtime.bench.gpu"],
    )


def test_what_is_asked_of_gpus_needs_little_else() -> None:
    lacking = set(MEDIA) - {"PIL", "cv2"} | {"tyro", "pydantic", "playwright", "truststore", "trainer"}
    names = [name for name in modules("tests") if name.startswith("tests.gpu.test_")]
    assert "tests.gpu.test_networks" in names
    probe(tuple(lacking), names)


@pytest.mark.parametrize(
    ("package", "others"),
    [("models", {"realtime", "trainer"}), ("realtime", {"trainer"}), ("trainer", {"realtime"})],
)
def test_packages_name_only_those_below_them(package: str, others: set[str]) -> None:
    """Not even in a function."""
    for file in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not others & {name.partition(".")[0] for name in names}, (
                f"{file}:{getattr(node, 'lineno', 0)}"
            )


@pytest.mark.parametrize(("package", "other"), [("realtime", "trainer"), ("trainer", "realtime")])
def test_realtime_and_trainer_do_not_need_each_other(package: str, other: str) -> None:
    probe((other,), modules(package))


def test_a_broken_rule_is_noticed() -> None:
    with pytest.raises(AssertionError, match="must not be imported"):
        probe(("torch",), ["models.contract"])
