"""LivePortrait's five networks, and the chain of them from two pictures to one, against the originals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from models.contract import LANDMARKS, Controls, Observation
from models.liveportrait import LivePortrait
from models.liveportrait.appearance import AppearanceExtractor
from models.liveportrait.generator import Appearance, Structure
from models.liveportrait.motion import MotionExtractor
from models.liveportrait.spade import SpadeGenerator, folded
from models.liveportrait.stitching import Stitching, openness
from models.liveportrait.warping import WarpingNetwork
from tests.parity.golden import Golden
from tests.parity.nets import Row, given, listened, rows_of, state_of

# Of the 203 landmarks that the authors' program measures eyes and lips with: across, and along.
LEFT_EYE, RIGHT_EYE = ((6, 18), (0, 12)), ((30, 42), (24, 36))
LIPS = ((90, 102), (48, 66))


def rows(folder: Path | str) -> list[Row]:
    """See `rows_of`."""
    return rows_of(folder, CHECKS)


def _appearance(golden: Golden) -> dict[str, Any]:
    net = _filled("lp_f", golden)
    got = listened(net, golden)
    got["feature_3d"] = net(given(golden, "image"))
    return got


def _motion(golden: Golden) -> dict[str, Any]:
    net = _filled("lp_m", golden)
    got = listened(net, golden)
    raw: list[Any] = []
    net.detector.register_forward_hook(lambda _, __, out: raw.append(out))
    motion = net(given(golden, "image"))
    got |= {f"raw_{name}": value for name, value in raw[0]._asdict().items()}
    got |= {f"deg_{name}": getattr(motion, name) for name in ("pitch", "yaw", "roll")}
    return got | {"rotation": motion.rotation, "x_transformed": motion.points}


def _warping(golden: Golden) -> dict[str, Any]:
    net = _filled("lp_w", golden)
    got = listened(net, golden)
    volume, driving, source = (given(golden, name) for name in ("feature_3d", "kp_driving", "kp_source"))
    dense = net.dense(volume, driving, source)
    return got | {
        "out": net.flat(volume, dense),
        "occlusion_map": dense.occlusion,
        "deformation": dense.deformation,
        "mask": dense.mask,
    }


def _generator(golden: Golden) -> dict[str, Any]:
    net = _filled("lp_g", golden)
    got = listened(net, golden)
    got["image"] = net(given(golden, "feature"))
    return got


def _stitching(golden: Golden) -> dict[str, Any]:
    net = _filled("lp_s", golden)
    source, driving = given(golden, "kp_source"), given(golden, "kp_driving")
    landmarks = given(golden, "landmarks203")
    return {
        "stitch_delta": net.retarget_shoulder(source, driving),
        "stitching": net(source, driving),
        "retarget_eye": net.eyes(source, given(golden, "eye_ratio")),
        "retarget_lip": net.lips(source, given(golden, "lip_ratio")),
        "eye_close_ratio": torch.cat([openness(landmarks, *eye) for eye in (LEFT_EYE, RIGHT_EYE)], 1),
        "lip_close_ratio": openness(landmarks, *LIPS),
    }


def _chain(golden: Golden) -> dict[str, Any]:
    """Through the calls of the contract."""
    net = whole(golden)
    appearance, rest, driving = played(net, golden)
    found = {
        "x_s": (source := net.key_points(appearance, appearance.structure)),
        "feature_3d": appearance.volume,
        "R_s": appearance.structure.rotation,
        "R_d1": driving.rotation,
    }
    for kind, switch in (("relative", 1.0), ("absolute", 0.0)):
        code = net.transfer(driving, rest, appearance, Controls.default(relative=switch))
        found[f"x_d_{kind}"] = net.key_points(appearance, code)
        found[f"x_d_{kind}_stitched"] = stitched = net.stitched(source, found[f"x_d_{kind}"], code.stitching)
    # The picture and the dense motion are those of the absolute one, the last.
    dense = net.warping.dense(appearance.volume, stitched, source)
    return found | {
        "image": net.decode(appearance, code)[0],
        "occlusion_map": dense.occlusion,
        "deformation": dense.deformation,
    }


def whole(golden: Golden) -> LivePortrait:
    """The network, with the recipe's weights."""
    net = LivePortrait().eval()
    for part, name in PARTS.items():
        net.get_submodule(name).load_state_dict(folded(state_of(golden, part)))
    return net


def played(net: LivePortrait, golden: Golden) -> tuple[Appearance, Structure, Structure]:
    """The source, and the driver's first picture and his second."""
    portrait = seen(F.interpolate(given(golden, "source"), scale_factor=2))  # which is halved again
    rest, driving = (net.encode_structure(seen(given(golden, name))) for name in ("driving0", "driving1"))
    return net.encode_appearance([portrait]), rest, driving


def pictures(net: LivePortrait, golden: Golden) -> torch.Tensor:
    """2×3×512×512: by relative and by absolute motion."""
    appearance, rest, driving = played(net, golden)
    codes = [net.transfer(driving, rest, appearance, Controls.default(relative=kind)) for kind in (1.0, 0.0)]
    return torch.cat([net.decode(appearance, code)[0] for code in codes])


def seen(picture: torch.Tensor) -> Observation:
    """As the authors' program sees it, which cuts all pictures alike: to_frame tells no motion."""
    side = float(picture.shape[3])
    to_frame = torch.tensor([[[side, 0, 0], [0, side, 0]]])
    return Observation(picture, torch.zeros(1, LANDMARKS, 3), to_frame, torch.tensor([True]))


MODULES: dict[str, Callable[[], Any]] = {
    "lp_f": AppearanceExtractor,
    "lp_m": MotionExtractor,
    "lp_w": WarpingNetwork,
    "lp_g": SpadeGenerator,
    "lp_s": Stitching,
}
PARTS = {
    "lp_f": "appearance",
    "lp_m": "motion",
    "lp_w": "warping",
    "lp_g": "generator",
    "lp_s": "stitching",
}
CHECKS: dict[str, Callable[[Golden], dict[str, Any]]] = {
    "lp_f": _appearance,
    "lp_m": _motion,
    "lp_w": _warping,
    "lp_g": _generator,
    "lp_s": _stitching,
    "lp_chain": _chain,
}
NETS = tuple(CHECKS)


def _filled(net: str, golden: Golden) -> Any:
    module = MODULES[net]()
    module.load_state_dict(folded(state_of(golden, net)))
    return module.eval()
