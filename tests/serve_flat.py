"""The server with fake slow parts as a process of its own, for what only a process shows: signals, its exit
code, and what a browser makes of it.

python -m tests.serve_flat ARGUMENTS OF THE SERVER
"""

import sys
from collections.abc import Sequence

from models.command_line import parse
from realtime.config import Settings
from realtime.engine import Begun, Request
from realtime.serve import bind, run, serve
from tests.fakes import FlatTracker
from tests.flat import Flat, FlatEngine, flat_picture
from tests.live import PORTRAIT

FATAL = 235  # a driver of that level, or above, ends the engine's thread
FAULTY = 200  # one of that level, or above, can't be drawn


class Mortal(FlatEngine):
    def begin(self, requests: Sequence[Request]) -> Begun:
        level = max(int(request.observation.image.max()) for request in requests)
        if level >= FATAL:
            raise SystemExit("whatever it was")
        if level >= FAULTY:
            raise RuntimeError("the device has hiccups")
        return super().begin(requests)


if __name__ == "__main__":
    settings = parse(Settings, ["--source", "x", *sys.argv[1:]], "serve-flat", "", repeated=True)
    engine = Mortal(Flat(), canvas=settings.size)
    portrait = engine.prepare(flat_picture(PORTRAIT))
    run(serve(settings, engine, portrait, bind(settings.host, settings.port), None, FlatTracker))
