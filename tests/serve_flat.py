"""The server with fake slow parts as a process of its own, for what only a process shows: signals and its
exit code.

python -m tests.serve_flat ARGUMENTS OF THE SERVER
"""

import sys

from realtime.command_line import parse
from realtime.config import Settings
from realtime.serve import bind, run, serve
from tests.fakes import Flat, FlatEngine, FlatTracker, flat_picture
from tests.live import PORTRAIT

if __name__ == "__main__":
    settings = parse(Settings, ["--source", "x", *sys.argv[1:]], "serve-flat", "")
    engine = FlatEngine(Flat(), canvas=settings.size)
    portrait = engine.prepare(flat_picture(PORTRAIT))
    run(serve(settings, engine, portrait, bind(settings.host, settings.port), None, FlatTracker))
