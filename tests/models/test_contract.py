"""The laws of the contract, for every generator of the registry, on real faces. Networks that need weights
have random ones here and are narrow, for no law is about their width.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from models import latent, registry, weights
from models.contract import EDITS, LANDMARKS, Controls, Observation, Reenactor, cat_codes, map_code
from models.dae_gan import DaeGan, reenactor
from models.directions import Directed
from models.face_tracker import FaceTracker, person_mask
from models.imf import Imf
from models.imf.shape import Shape
from models.landmark_gan import LandmarkGan
from models.latent import Latent
from models.liveportrait import LivePortrait
from models.observation import observe, to_unit
from models.portrait_face import portrait_face
from models.warp import Warp
from tests.models.little_portrait import LITTLE
from tests.models.tiny import Tiny

MEDIA = Path(__file__).parent.parent / "media"
DRIVERS = 3  # different frames of a clip, as the rows of a batch


class Played(NamedTuple):
    """A batch of sessions on its way through a generator, and what came of it."""

    structure: Any
    neutral: Any  # each session has its own
    moved: Any
    half: Any  # moved, some of it eased back
    rgb: Tensor
    alpha: Tensor


@dataclass
class Scene:
    """A generator with everything to drive it."""

    name: str
    generator: Reenactor[Any, Any]
    sources: list[Observation]  # two portraits
    appearances: list[Any]
    driving: list[Observation]  # batch 1 each

    def play(self, driving: Observation) -> Played:
        """driving: a batch of `DRIVERS`."""
        generator, appearance = self.generator, batched(self)[0]
        structure = generator.encode_structure(driving)
        rest = [generator.encode_structure(self.driving[row]) for row in reversed(range(DRIVERS))]
        neutral = cat_codes([generator.neutral([code]) for code in rest])
        moved = generator.transfer(structure, neutral, appearance, settings())
        half = generator.blend(moved, appearance.structure, torch.tensor([0.0, 0.5, 1.0]))
        return Played(structure, neutral, moved, half, *generator.decode(appearance, half))

    @cached_property
    def played(self) -> Played:
        return self.play(batched(self)[1])


IMF = Shape(
    side=64,
    token=32,
    encoder=(8, 8, 16, 16, 16),
    features=(8, 8, 8, 16, 16, 16),
    motion=(16, 16, 16, 16, 16),
    decoder=(16, 16, 16, 8, 8),
    heads=(2, 2, 2, 2),
)


def with_sliders(network: Directed[Any, Any]) -> Directed[Any, Any]:
    network.direct(torch.randn(len(EDITS), *network.code_shape))
    return network


NARROW: dict[str, Callable[[], Reenactor[Any, Any]]] = {
    "warp": Warp,  # has no widths
    "imf": lambda: Imf("paper", IMF),
    "imf:light": lambda: Imf("light", replace(IMF, motion=IMF.motion[:-1])),
    "imf:tiny": lambda: Imf("tiny"),
    "dae_gan": lambda: DaeGan(layout=reenactor.Layout(side=64, code=16, width=8, downs=3, blocks=2)),
    "dae_gan:light": lambda: DaeGan("light", reenactor.Layout(code=16, width=8, widest=32, blocks=2)),
    "dae_gan:tiny": lambda: DaeGan("tiny"),
    "landmark_gan": lambda: LandmarkGan(width=8),
    "landmark_gan:tiny": lambda: LandmarkGan("tiny"),
    "latent": lambda: Latent(layout=latent.Layout(side=64, seen=32, style=64, most=32)),
    "liveportrait": lambda: LivePortrait(LITTLE),
    "tiny": Tiny,
    "sliders": lambda: with_sliders(Tiny()),
    "sliders:rows": lambda: with_sliders(Latent(layout=latent.Layout(side=64, seen=32, style=64, most=32))),
}


OFF_THE_PATH = {
    "dae_gan": ("pose.decoder", "pose.flow", "pose.low", "pose.high"),
    "latent": ("generator.style",),
}
"""Of each network, what no frame passes through: needed to train it, and tested with its objectives."""


def narrow(name: str) -> Reenactor[Any, Any]:
    """With the same random weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NARROW[name]()


def test_no_network_is_left_out() -> None:
    assert registry.MODULES.keys() <= NARROW.keys()


def clip_frames() -> list[np.ndarray]:
    import av

    path = next(MEDIA.glob("*.mp4"))
    with av.open(str(path)) as container:
        frames = [
            np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)
        ]
    return frames[:: len(frames) // DRIVERS][:DRIVERS]


@pytest.fixture(scope="module", params=NARROW)
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    torch.set_num_threads(1)
    generator = narrow(request.param).eval()
    spec = generator.spec
    sources = []
    for path in sorted(MEDIA.glob("*.jpg"))[:2]:
        picture = np.asarray(Image.open(path).convert("RGB"))
        sources.append(
            to_unit(observe(picture, portrait_face(picture).points, spec.source, person=person_mask(picture)))
        )
    with torch.inference_mode(), FaceTracker() as tracker:
        driving = [to_unit(observe(frame, tracker.track(frame), spec.driving)) for frame in clip_frames()]
        assert all(bool(frame.valid) for frame in driving)
        appearances = [generator.encode_appearance([source]) for source in sources]
        yield Scene(request.param, generator, sources, appearances, driving)


def tensors(code: Any) -> list[Tensor]:
    """Every tensor of a code, or of several, in order."""
    if isinstance(code, Tensor):
        return [code]
    return [tensor for part in code if part is not None for tensor in tensors(part)]


def assert_same(a: Any, b: Any, tolerance: float) -> None:
    """tolerance: of each tensor's own largest value."""
    for x, y in zip(tensors(a), tensors(b), strict=True):
        assert x.shape == y.shape
        limit = tolerance * max(1.0, float(y.abs().max()))
        assert float((x - y).abs().max()) <= limit


def rows(batch: Any, row: int) -> Any:
    return map_code(lambda tensor: tensor[row : row + 1], batch)


def batched(scene: Scene) -> tuple[Any, Observation]:
    """As many sessions as driving frames, with portraits in turn, as one batch."""
    appearances = [scene.appearances[row % 2] for row in range(DRIVERS)]
    return cat_codes(appearances), cat_codes(scene.driving)


def settings() -> Controls:
    """A batch of sessions with different wishes."""
    wishes = Controls.default(DRIVERS)
    return wishes._replace(
        relative=torch.tensor([1.0, 0.0, 1.0]),
        gain_pose=torch.tensor([0.5, 1.0, 1.5]),
        gain_expression=torch.tensor([1.0, 0.5, 1.5]),
        eyes=torch.tensor([0.5, 1.0, 2.0]),
        lips=torch.tensor([2.0, 1.0, 0.5]),
        mouth_pixels=torch.tensor([1.0, 1.0, 0.0]),
        shading=torch.tensor([0.0, 1.0, 0.5]),
        turn=torch.tensor([0.5, -1.0, 0.0]),
        blink=torch.tensor([0.0, 1.0, -0.2]),
    )


def test_a_code_is_made_of_batch_first_tensors(scene: Scene) -> None:
    for appearance in scene.appearances:
        assert {tensor.shape[0] for tensor in tensors(appearance)} == {1}
        assert type(appearance.structure) is type(scene.generator.encode_structure(scene.driving[0]))
    _, driving = batched(scene)
    assert {tensor.shape[0] for tensor in tensors(scene.generator.encode_structure(driving))} == {DRIVERS}


def test_it_is_what_its_spec_says(scene: Scene) -> None:
    spec = scene.generator.spec
    assert spec.size in spec.sizes
    assert set(spec.controls) <= set(Controls._fields)
    assert {*tensors(scene.played.structure)}
    assert spec.reads
    with pytest.raises(ValueError, match="known: "):
        registry.make(f"{spec.name}:nonesuch")


def test_decode_gives_a_picture_and_where_it_may_stand(scene: Scene) -> None:
    rgb, alpha = scene.played.rgb, scene.played.alpha
    side = scene.generator.spec.source.size
    assert rgb.shape == (DRIVERS, 3, side, side)
    assert alpha.shape == (DRIVERS, 1, side, side)
    for picture in (rgb, alpha):
        assert float(picture.min()) >= 0
        assert float(picture.max()) <= 1
    middle, border = alpha[:, :, side // 2, side // 2], alpha[:, :, 0]
    assert float(middle.min()) == 1
    assert float(border.max()) < 0.5


def test_an_untrained_picture_is_neither_flat_nor_saturated(scene: Scene) -> None:
    """Otherwise training could not begin."""
    rgb = scene.played.rgb
    assert float(rgb.std()) > 1e-3
    assert float(((rgb < 1 / 255) | (rgb > 254 / 255)).float().mean()) < 0.5


def test_a_driver_at_rest_leaves_the_source_at_rest(scene: Scene) -> None:
    generator = scene.generator
    for appearance in scene.appearances:
        for driving in scene.driving:
            code = generator.encode_structure(driving)
            for neutral in (code, generator.neutral([code])):
                moved = generator.transfer(neutral, neutral, appearance, Controls.default())
                assert_same(moved, appearance.structure, 1e-4)


def test_gains_of_nought_leave_the_source_at_rest(scene: Scene) -> None:
    generator, appearance = scene.generator, scene.appearances[0]
    neutral, structure = (generator.encode_structure(scene.driving[row]) for row in (0, DRIVERS - 1))
    still = Controls.default(gain_pose=0.0, gain_expression=0.0)
    assert_same(generator.transfer(structure, neutral, appearance, still), appearance.structure, 1e-4)


def test_a_source_at_rest_looks_like_itself(scene: Scene) -> None:
    if scene.generator.spec.needs_weights:
        pytest.skip("is untrained here")
    for source, appearance in zip(scene.sources, scene.appearances, strict=True):
        rgb, alpha = scene.generator.decode(appearance, appearance.structure)
        difference = ((rgb - source.image).abs() * alpha).mean()
        assert float(difference) < 4 / 255


def test_blend_is_exact_at_its_ends(scene: Scene) -> None:
    a, b = (scene.generator.encode_structure(scene.driving[row]) for row in (0, 1))
    for t, end in ((0.0, a), (1.0, b)):
        for x, y in zip(tensors(scene.generator.blend(a, b, torch.tensor([t]))), tensors(end), strict=True):
            assert torch.equal(x, y)


def test_a_control_that_is_not_honoured_changes_nothing(scene: Scene) -> None:
    generator, played = scene.generator, scene.played
    appearance, default = batched(scene)[0], Controls.default(DRIVERS)
    plain = generator.transfer(played.structure, played.neutral, appearance, default)
    for name in Controls._fields:
        changed = default._replace(**{name: 1 - getattr(default, name)})
        moved = generator.transfer(played.structure, played.neutral, appearance, changed)
        same = all(torch.equal(x, y) for x, y in zip(tensors(moved), tensors(plain), strict=True))
        assert same or name in generator.spec.controls, name


def test_codes_depend_on_nothing_else(scene: Scene) -> None:
    """The structure on no portrait, the appearance on no driver, and neither on what came before."""
    generator = scene.generator
    for source, appearance in zip(scene.sources, scene.appearances, strict=True):
        for x, y in zip(tensors(generator.encode_appearance([source])), tensors(appearance), strict=True):
            assert torch.equal(x, y)
        alone = generator.encode_structure(scene.driving[1])
        assert_same(alone, rows(scene.played.structure, 1), 1e-5)


def test_several_pictures_make_one_code(scene: Scene) -> None:
    """Of the same shape whatever their number, so that sessions share a batch."""
    generator = scene.generator
    if generator.spec.max_sources == 1:
        pytest.skip("takes one picture")
    most = generator.spec.max_sources
    for count in {2, most}:
        sources = [scene.sources[index % 2] for index in range(count)]
        code = generator.encode_appearance(sources)
        assert [t.shape for t in tensors(code)] == [t.shape for t in tensors(scene.appearances[0])]
        assert all(bool(torch.isfinite(t).all()) for t in tensors(code))
        pairs = zip(tensors(code), tensors(scene.appearances[0]), strict=True)
        assert any(not torch.equal(x, y) for x, y in pairs)


def test_a_batch_equals_its_rows(scene: Scene) -> None:
    generator, controls, played = scene.generator, settings(), scene.played
    appearance, _ = batched(scene)
    for row in range(DRIVERS):
        own, wishes = rows(appearance, row), rows(controls, row)
        alone = generator.encode_structure(scene.driving[row])
        assert_same(rows(played.structure, row), alone, 1e-5)
        alone_moved = generator.transfer(alone, rows(played.neutral, row), own, wishes)
        assert_same(rows(played.moved, row), alone_moved, 1e-4)
        alone_half = generator.blend(alone_moved, own.structure, torch.tensor([row / 2]))
        alone_rgb, alone_alpha = generator.decode(own, alone_half)
        # A control point that differs in its last bit may move a pixel of an edge: only the mean is strict.
        assert float((played.rgb[row] - alone_rgb[0]).abs().mean()) < 0.1 / 255
        assert float((played.rgb[row] - alone_rgb[0]).abs().max()) < 8 / 255
        assert torch.allclose(played.alpha[row], alone_alpha[0], atol=1 / 255)


def test_the_same_frame_gives_the_same_picture(scene: Scene) -> None:
    def once() -> tuple[Tensor, Tensor]:
        structure = scene.generator.encode_structure(scene.driving[1])
        neutral = scene.generator.encode_structure(scene.driving[0])
        moved = scene.generator.transfer(structure, neutral, scene.appearances[0], Controls.default())
        return scene.generator.decode(scene.appearances[0], moved)

    for first, second in zip(once(), once(), strict=True):
        assert torch.equal(first, second)


def test_a_frame_without_a_face_gives_finite_numbers(scene: Scene) -> None:
    frame = scene.driving[0]
    points = None if frame.points is None else torch.zeros(1, LANDMARKS, 3)
    lost = frame._replace(points=points, valid=torch.tensor([False]))
    for tensor in tensors(scene.generator.encode_structure(lost)):
        assert torch.isfinite(tensor).all()


def test_a_row_without_a_face_leaves_its_neighbours_alone(scene: Scene) -> None:
    _, driving = batched(scene)
    points = driving.points
    if points is not None:
        points = torch.cat((torch.zeros_like(points[:1]), points[1:]))
    lost = scene.play(driving._replace(points=points, valid=torch.tensor([False] + [True] * (DRIVERS - 1))))
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors(lost))
    for row in range(1, DRIVERS):
        assert_same(rows(lost.moved, row), rows(scene.played.moved, row), 1e-4)
        assert float((lost.rgb[row] - scene.played.rgb[row]).abs().mean()) < 0.1 / 255


def test_what_cannot_be_encoded_is_refused(scene: Scene) -> None:
    generator, source = scene.generator, scene.sources[0]
    with pytest.raises(ValueError, match="source"):
        generator.encode_appearance([])
    with pytest.raises(ValueError, match="source"):
        generator.encode_appearance([source] * (generator.spec.max_sources + 1))
    with pytest.raises(ValueError):  # noqa: PT011 - each network says in its own words that it wants codes
        generator.neutral([])
    if "points" in generator.spec.reads:
        with pytest.raises(ValueError, match="face|landmarks"):
            generator.encode_appearance([source._replace(points=None)])


def test_the_neutral_pose_of_one_code_is_usable_as_a_code(scene: Scene) -> None:
    codes = [scene.generator.encode_structure(frame) for frame in scene.driving]
    for neutral in (scene.generator.neutral(codes), scene.generator.neutral(codes[:1])):
        assert [t.shape for t in tensors(neutral)] == [t.shape for t in tensors(codes[0])]
        assert all(bool(torch.isfinite(t).all()) for t in tensors(neutral))


def test_points_stay_float32_where_pictures_are_bfloat16(scene: Scene) -> None:
    generator = scene.generator
    neutral, plain = (generator.encode_structure(scene.driving[row]) for row in (0, 1))
    if not hasattr(plain, "points"):
        pytest.skip("its codes hold no landmarks")
    frame = scene.driving[1]
    halved = generator.encode_structure(frame._replace(image=frame.image.bfloat16()))
    assert halved.points.dtype == torch.float32
    assert torch.equal(halved.points, plain.points)
    controls = Controls.default()
    moved = [generator.transfer(code, neutral, scene.appearances[0], controls) for code in (plain, halved)]
    assert moved[1].points.dtype == torch.float32
    assert torch.equal(moved[0].points, moved[1].points)


def test_a_bfloat16_picture_is_looked_up_where_a_float32_one_is(scene: Scene) -> None:
    """Grids in bfloat16 would be half a pixel off at a picture's edge; its colours are 1/256 off."""
    generator = scene.generator
    if "points" not in generator.spec.reads:
        pytest.skip("reads no landmarks")
    frame = scene.driving[1]
    half = frame.image.bfloat16()
    rounded = generator.encode_structure(frame._replace(image=half.float()))
    assert_same(generator.encode_structure(frame._replace(image=half)), rounded, 0.01)
    source = scene.sources[0]
    plain, halved = (
        generator.encode_appearance([source._replace(image=image)])
        for image in (source.image, source.image.bfloat16())
    )
    a, b = (generator.decode(code, code.structure)[0].float() for code in (plain, halved))
    assert float((a - b).abs().max()) < 2 / 255


class MixedPrecision(TorchDispatchMode):
    """Sees to it that nothing is looked up by a coarse grid."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__.startswith("grid_sampler"):
            assert args[1].dtype == torch.float32, "a grid in half precision"
        return func(*args, **(kwargs or {}))


def test_it_runs_in_mixed_precision(scene: Scene) -> None:
    """Where there are weights to cast. Points, grids and flows stay float32."""
    generator = scene.generator
    if not any(True for _ in generator.parameters()):
        pytest.skip("has no parameters")
    appearance, played = scene.appearances[0], scene.played
    with MixedPrecision(), torch.autocast("cpu", torch.bfloat16):
        structure = generator.encode_structure(scene.driving[0])
        moved = generator.transfer(structure, rows(played.neutral, 0), appearance, Controls.default())
        rgb, alpha = generator.decode(appearance, rows(played.half, 0))
    assert_same(map_code(Tensor.float, structure), rows(played.structure, 0), 0.1)
    for code in (structure, moved):
        if hasattr(code, "points"):
            assert code.points.dtype == torch.float32
            assert_same(structure.points, played.structure.points[:1], 1e-5)
    assert float((rgb.float() - played.rgb[:1]).abs().mean()) < 4 / 255
    assert torch.allclose(alpha.float(), played.alpha[:1], atol=1 / 255)


def test_it_runs_with_bfloat16_weights(scene: Scene) -> None:
    """Structure codes and pictures stay float32."""
    if not any(True for _ in scene.generator.parameters()):
        pytest.skip("has no parameters")
    generator = copy.deepcopy(scene.generator).bfloat16()
    with MixedPrecision():
        appearance = generator.encode_appearance([scene.sources[0]])
        structure = generator.encode_structure(scene.driving[0])
        neutral = generator.neutral([generator.encode_structure(scene.driving[1])])
        moved = generator.transfer(structure, neutral, appearance, Controls.default())
        half = generator.blend(moved, appearance.structure, torch.tensor([0.5]))
        rgb, alpha = generator.decode(appearance, half)
    assert all(tensor.dtype == torch.float32 for tensor in (*structure, *moved, rgb, alpha))
    assert bool(torch.isfinite(rgb).all())
    plain = scene.generator.decode(scene.appearances[0], scene.appearances[0].structure)[0]
    still = generator.decode(appearance, appearance.structure)[0]
    assert float((still - plain).abs().mean()) < 4 / 255


def test_a_mixed_precision_grid_would_be_noticed() -> None:
    picture, grid = torch.rand(1, 3, 4, 4), torch.rand(1, 4, 4, 2)
    with pytest.raises(AssertionError, match="half precision"), MixedPrecision():
        torch.nn.functional.grid_sample(picture.bfloat16(), grid.bfloat16(), align_corners=False)


def test_gradients_reach_the_code_and_every_parameter(scene: Scene) -> None:
    """Through the path that is served. What is only there for training is its own tests' matter."""
    generator = scene.generator
    if not any(True for _ in generator.parameters()):
        pytest.skip("has nothing to train")
    with torch.inference_mode(False), torch.enable_grad():
        source, rest, frame = (
            map_code(torch.clone, one) for one in (scene.sources[0], scene.driving[0], scene.driving[1])
        )
        appearance = generator.encode_appearance([source])
        codes = [generator.encode_structure(one) for one in (frame, rest)]
        moved = generator.transfer(codes[0], codes[1], appearance, Controls.default())
        leaves = [tensor for tensor in tensors(moved) if tensor.is_floating_point()]
        for tensor in leaves:
            tensor.requires_grad_() if tensor.is_leaf else tensor.retain_grad()
        rgb, _ = generator.decode(appearance, moved)
        (rgb - 0.3).square().mean().backward()
        grads = [tensor.grad for tensor in leaves if tensor.grad is not None]
        assert all(bool(torch.isfinite(grad).all()) for grad in grads)
        assert max(float(grad.abs().max()) for grad in grads) > 0
        aside = OFF_THE_PATH.get(generator.spec.name, ())
        for name, parameter in generator.named_parameters():
            if parameter.requires_grad and not name.startswith(aside):
                assert parameter.grad is not None, name
                assert torch.isfinite(parameter.grad).all(), name
        generator.zero_grad()


def test_its_weights_come_back_from_their_file(scene: Scene, tmp_path: Path) -> None:
    generator, played = scene.generator, scene.played
    if not generator.spec.needs_weights:
        pytest.skip("has none")
    path = tmp_path / "weights.safetensors"
    weights.save(generator, path)
    loaded = weights.load(path, NARROW[scene.name]()).eval()
    assert loaded.spec == generator.spec
    ours, theirs = generator.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    again = loaded.decode(*(rows(code, 1) for code in (batched(scene)[0], played.half)))[0]
    assert float((again - played.rgb[1:2]).abs().mean()) < 0.1 / 255


class NoHostSync(TorchDispatchMode):
    """Refuses whatever has to look at a tensor's values before it can go on."""

    FORBIDDEN = (
        "_local_scalar_dense",
        "item",
        "is_nonzero",
        "nonzero",
        "masked_select",
        "equal",
        "_unique",
        "_unique2",
    )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name == "index" and any(
            i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        )
        waits = by_mask or name in self.FORBIDDEN
        assert not waits, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


class NoHostCopies(TorchFunctionMode):
    """Refuses copies from the device, and constants that would be copied to it in every frame."""

    FORBIDDEN = ("cpu", "numpy", "tolist", "item", "__array__", "tensor", "as_tensor", "new_tensor")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        assert name not in self.FORBIDDEN, f"{name} copies between host and device"
        devices = [*args[1:], *(kwargs or {}).values()] if name == "to" else []
        assert not {str(one) for one in devices} & {"cpu"}, "copies to the host"
        return func(*args, **(kwargs or {}))


@contextmanager
def on_the_device() -> Iterator[None]:
    """As in a CUDA graph: nothing meanwhile may look at a value, or copy from or to the host."""
    with ExitStack() as modes:
        modes.enter_context(NoHostSync())
        modes.enter_context(NoHostCopies())
        yield


def test_the_frame_path_stays_on_the_device(scene: Scene) -> None:
    generator, controls = scene.generator, rows(settings(), 0)
    appearance, driving, neutral = scene.appearances[0], scene.driving[0], rows(scene.played.neutral, 0)
    with on_the_device():
        structure = generator.encode_structure(driving)
        moved = generator.transfer(structure, neutral, appearance, controls)
        moved = generator.blend(moved, structure, controls.relative)
        generator.decode(appearance, moved)


def test_leaving_the_device_would_be_noticed() -> None:
    values = torch.arange(3.0)
    for act in (
        lambda: values.sum().item(),
        lambda: values[values > 1],
        lambda: bool(values.any()),
        lambda: values.cpu(),
        lambda: values.to("cpu"),
        lambda: values.numpy(),
        lambda: values.tolist(),
        lambda: values + torch.tensor([1.0, 2.0, 3.0]),
        lambda: values + values.new_tensor([1.0, 2.0, 3.0]),
    ):
        with pytest.raises(AssertionError, match="waits|copies"), on_the_device():
            act()


class Call(nn.Module):
    """One method of a generator, as a module that can be exported."""

    def __init__(self, generator: nn.Module, method: Callable[..., Any]) -> None:
        super().__init__()
        self.generator = generator
        self._method = method

    def forward(self, *args: Any) -> Any:
        return self._method(*args)


@pytest.mark.parametrize("name", ["encode_structure", "transfer", "decode"])
def test_the_frame_path_can_be_exported_for_any_number_of_sessions(scene: Scene, name: str) -> None:
    (appearance, driving), played = batched(scene), scene.played
    arguments: tuple[Any, ...]
    arguments, expected = {
        "encode_structure": ((driving,), played.structure),
        "transfer": ((played.structure, played.neutral, appearance, settings()), played.moved),
        "decode": ((appearance, played.half), (played.rgb, played.alpha)),
    }[name]
    call = Call(scene.generator, getattr(scene.generator, name))
    shapes, sessions = torch.export.ShapesCollection(), torch.export.Dim("sessions", min=2, max=1024)
    for tensor in tensors(arguments):
        shapes[tensor] = {0: sessions}
    program = torch.export.export(call, arguments, dynamic_shapes=shapes)
    # Without its guards: torch 2.13 writes wrong code for them where one field's name begins with another's.
    exported = program.module(check_guards=False)
    fewer = tuple(map_code(lambda tensor: tensor[1:], code) for code in arguments)
    found = exported(*fewer)
    for x, y in zip(tensors(found), tensors(expected), strict=True):
        assert x.shape[0] == DRIVERS - 1
        # Pictures as above: an edge may move by a pixel.
        error = (x - y[1:]).abs().float()
        assert float(error.mean() if name == "decode" else error.max()) <= 1e-4 * max(
            1.0, float(y.abs().max())
        )
