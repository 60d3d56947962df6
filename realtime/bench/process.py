"""A server as a process of its own, as it runs in life."""

import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

ADDRESS = re.compile(r"^Open (https?://\S+)")
START_S = 60.0
STOP_S = 15.0


class Running(NamedTuple):
    """A server that takes calls."""

    address: str  # of its page
    process: "subprocess.Popen[str]"


@contextmanager
def served(module: str, *arguments: str) -> Iterator[Running]:
    """Run `python -m MODULE ARGUMENTS` and wait for its line `Open ADDRESS`. At the end the process is
    stopped as a service manager would stop it.

    Raises ValueError with the last lines that it wrote where it ends, or says nothing, before that.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        command = [sys.executable, "-m", module, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
        limit = threading.Timer(START_S, process.kill)
        limit.start()
        try:
            assert process.stdout is not None
            found = next((m for line in process.stdout if (m := ADDRESS.match(line))), None)
            limit.cancel()
            if found is None:
                process.wait()
                raise ValueError(f"{' '.join(command)} did not start:\n{_tail(said)}")
            yield Running(found.group(1), process)
        finally:
            limit.cancel()
            _stop(process)


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _tail(said: IO[str]) -> str:
    said.seek(0)
    return "\n".join(said.read().splitlines()[-5:])
