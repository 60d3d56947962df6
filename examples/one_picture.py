"""Give a painting the expression of one frame of a clip, from Python, step by step:

python examples/one_picture.py tests/media/grid_brbk7n.mp4 36 mona_lisa_speaks.png
"""

import sys
from pathlib import Path

import av
from PIL import Image

from models import registry
from realtime.avatar import Avatar
from realtime.engine import Engine
from realtime.pictures import load_picture
from realtime.tracker import DriverTracker

clip, number, output = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with av.open(clip) as container:
    frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]

engine = Engine(registry.get("warp")())
avatar = Avatar(engine.prepare(load_picture(Path(__file__).parent / "mona_lisa.jpg")))
with DriverTracker(engine.generator.spec.driving) as tracker:
    rest = engine.encode(tracker.warm(frames[0]))  # motion is what has changed since this frame
    avatar.use_neutral(engine.generator.neutral([rest]))
    for index, frame in enumerate(frames[: number + 1]):
        rendered = engine.render(avatar, tracker.observe(frame, index / 25), index / 25)
Image.fromarray(rendered.picture).save(output)
print(f"{output}: the painting at frame {number}")
