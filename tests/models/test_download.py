"""A file got over connections that break, from a server that may have another one."""

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.download import PAUSES_S, Unreachable, download
from tests.models.hub import RESOLVE, Hub, serving

DATA = np.random.default_rng(0).bytes(1_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving({"a.pth": DATA}) as server:
        yield server


class Got:
    """A download, what it told of its progress, and how it waited."""

    def __init__(self, hub: Hub, path: Path, name: str = "a.pth") -> None:
        self.steps: list[int] = []
        self.pauses: list[float] = []
        url = f"{hub.address}{RESOLVE}{name}"
        self.arguments = (url, path, len(DATA), SHA256, self.steps.append, self.pauses.append)

    def __call__(self) -> None:
        download(*self.arguments)


def test_a_file_comes_whole(hub: Hub, tmp_path: Path) -> None:
    got = Got(hub, tmp_path / "a")
    got()
    assert (tmp_path / "a").read_bytes() == DATA
    assert hub.asked == [("a.pth", "")]
    assert sum(got.steps) == len(DATA)
    got()
    assert len(hub.asked) == 1, "what is there already is not asked for"


def test_a_dropped_connection_is_taken_up_where_it_ended(hub: Hub, tmp_path: Path) -> None:
    hub.drops = [300_000, 0, 0, 0, 300_000, 0]
    got = Got(hub, tmp_path / "a")
    got()
    assert (tmp_path / "a").read_bytes() == DATA
    assert [asked for _, asked in hub.asked] == ["", *4 * ["bytes=300000-"], *2 * ["bytes=600000-"]]
    assert sum(got.steps) == len(DATA)
    first, second, third, _ = PAUSES_S
    assert got.pauses == [first, second, third, PAUSES_S[3], first, second]


def test_a_reset_connection_is_as_good_as_a_closed_one(hub: Hub, tmp_path: Path) -> None:
    """What the system had not yet handed over is lost with it."""
    hub.drops, hub.rude = [300_000, 300_000], True
    got = Got(hub, tmp_path / "a")
    got()
    assert (tmp_path / "a").read_bytes() == DATA
    assert len(hub.asked) == 3
    assert sum(got.steps) == len(DATA)


def test_patience_ends(hub: Hub, tmp_path: Path) -> None:
    hub.drops = [300_000, *9 * [0]]
    got = Got(hub, tmp_path / "a")
    with pytest.raises(Unreachable, match=r"a\.pth: the connection ended early$"):
        got()
    assert got.pauses == list(PAUSES_S)
    assert (tmp_path / "a").read_bytes() == DATA[:300_000], "what came stays"


def test_a_busy_server_is_asked_again(hub: Hub, tmp_path: Path) -> None:
    hub.statuses = [503, 429]
    got = Got(hub, tmp_path / "a")
    got()
    assert (tmp_path / "a").read_bytes() == DATA
    assert got.pauses == list(PAUSES_S[:2])


@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_is_final(hub: Hub, tmp_path: Path, status: int) -> None:
    hub.statuses = [status]
    got = Got(hub, tmp_path / "a")
    with pytest.raises(Unreachable, match=f"the server answers {status} "):
        got()
    assert not got.pauses


def test_a_server_that_cannot_go_on_sends_all_of_it(hub: Hub, tmp_path: Path) -> None:
    hub.drops, hub.goes_on = [300_000], False
    got = Got(hub, tmp_path / "a")
    got()
    assert (tmp_path / "a").read_bytes() == DATA
    assert [asked for _, asked in hub.asked] == ["", "bytes=300000-"]
    assert sum(got.steps) == len(DATA)


@pytest.mark.parametrize(
    ("there", "theirs", "reason"),
    [
        (b"", bytes(len(DATA)), "SHA-256 d29751f2649b…, expected"),
        (bytes(1000), DATA, "SHA-256 [0-9a-f]{12}…, expected"),
        (b"", DATA + b"more", "has 1,000,004 bytes, expected 1,000,000: it is another file"),
        (b"", DATA[:-1], "has 999,999 bytes, expected 1,000,000: it is another file"),
        (DATA[:3000], DATA[:2000], "has fewer than 3000 bytes, so it is another file"),
    ],
)
def test_another_file_is_refused_and_removed(
    hub: Hub, tmp_path: Path, there: bytes, theirs: bytes, reason: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(there)
    hub.files["a.pth"] = theirs
    with pytest.raises(ValueError, match=reason):
        Got(hub, path)()
    assert not path.exists()
    hub.files["a.pth"] = DATA
    Got(hub, path)()
    assert path.read_bytes() == DATA


def test_a_file_too_long_is_begun_anew(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA + b"more")
    Got(hub, tmp_path / "a")()
    assert (tmp_path / "a").read_bytes() == DATA


KILLED = """
import sys
from pathlib import Path
from models.download import download

url, path, size, sha256 = sys.argv[1:]
download(url, Path(path), int(size), sha256, lambda count: print(count, flush=True))
"""


def test_a_run_after_one_that_was_killed_asks_for_the_rest_only(hub: Hub, tmp_path: Path) -> None:
    """Killed while the connection stands still half-way."""
    path, killed = tmp_path / "a", threading.Event()
    hub.drops, hub.dropped = [400_000], killed.wait
    url = f"{hub.address}{RESOLVE}a.pth"
    command = [sys.executable, "-c", KILLED, url, str(path), str(len(DATA)), SHA256]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        came = 0
        while came < 400_000:
            came += int(run.stdout.readline())
        run.kill()
    killed.set()
    there = path.stat().st_size
    assert there > 300_000, "all but what Python had not yet written"
    Got(hub, path)()
    assert path.read_bytes() == DATA
    assert [asked for _, asked in hub.asked] == ["", f"bytes={there}-"]


def test_without_a_network_nobody_waits(tmp_path: Path) -> None:
    with serving({}) as gone:
        pass
    got = Got(gone, tmp_path / "a")
    with pytest.raises(Unreachable, match=r"a\.pth: can't be reached \(Connection refused\)"):
        got()
    assert not got.pauses
    gone.address = "nowhere"
    with pytest.raises(ValueError, match="unknown url type"):
        Got(gone, tmp_path / "a")()
