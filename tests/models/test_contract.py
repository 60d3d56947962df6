"""The laws of the contract, for every generator of the registry, on real faces."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from models import registry
from models.contract import LANDMARKS, Controls, Observation, Reenactor, cat_codes, map_code
from models.face_tracker import FaceTracker, person_mask
from models.observation import observe
from models.portrait_face import portrait_face

MEDIA = Path(__file__).parent.parent / "media"
DRIVERS = 3  # different frames of a clip, as the rows of a batch


class Scene(NamedTuple):
    """A generator with everything to drive it."""

    generator: Reenactor[Any, Any]
    sources: list[Observation]  # two portraits
    appearances: list[Any]
    driving: list[Observation]  # batch 1 each


def clip_frames() -> list[np.ndarray]:
    import av

    path = next(MEDIA.glob("*.mp4"))
    with av.open(str(path)) as container:
        frames = [
            np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)
        ]
    return frames[:: len(frames) // DRIVERS][:DRIVERS]


@pytest.fixture(scope="module", params=sorted(registry.MODULES))
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    torch.set_num_threads(1)
    generator = registry.get(request.param)().eval()
    spec = generator.spec
    sources = []
    for path in sorted(MEDIA.glob("*.jpg"))[:2]:
        picture = np.asarray(Image.open(path).convert("RGB"))
        sources.append(
            observe(picture, portrait_face(picture).points, spec.source, person=person_mask(picture))
        )
    with torch.inference_mode(), FaceTracker() as tracker:
        driving = [observe(frame, tracker.track(frame), spec.driving) for frame in clip_frames()]
        assert all(bool(frame.valid) for frame in driving)
        appearances = [generator.encode_appearance([source]) for source in sources]
        yield Scene(generator, sources, appearances, driving)


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
    )


def test_a_code_is_made_of_batch_first_tensors(scene: Scene) -> None:
    for appearance in scene.appearances:
        assert {tensor.shape[0] for tensor in tensors(appearance)} == {1}
        assert type(appearance.structure) is type(scene.generator.encode_structure(scene.driving[0]))
    _, driving = batched(scene)
    assert {tensor.shape[0] for tensor in tensors(scene.generator.encode_structure(driving))} == {DRIVERS}


def test_decode_gives_a_picture_and_where_it_may_stand(scene: Scene) -> None:
    appearance, driving = batched(scene)
    structure = scene.generator.encode_structure(driving)
    neutral = cat_codes([rows(structure, 0)] * DRIVERS)
    moved = scene.generator.transfer(structure, neutral, appearance, Controls.default(DRIVERS))
    rgb, alpha = scene.generator.decode(appearance, moved)
    side = scene.generator.spec.source.size
    assert rgb.shape == (DRIVERS, 3, side, side)
    assert alpha.shape == (DRIVERS, 1, side, side)
    for picture in (rgb, alpha):
        assert float(picture.min()) >= 0
        assert float(picture.max()) <= 1


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


def test_a_batch_equals_its_rows(scene: Scene) -> None:
    generator, controls = scene.generator, settings()
    appearance, driving = batched(scene)
    structure = generator.encode_structure(driving)
    # Each session has a neutral pose of its own.
    neutral = cat_codes([generator.neutral([rows(structure, DRIVERS - 1 - row)]) for row in range(DRIVERS)])
    moved = generator.transfer(structure, neutral, appearance, controls)
    half = generator.blend(moved, appearance.structure, torch.tensor([0.0, 0.5, 1.0]))
    rgb, alpha = generator.decode(appearance, half)
    for row in range(DRIVERS):
        own, wishes = rows(appearance, row), rows(controls, row)
        alone = generator.encode_structure(scene.driving[row])
        assert_same(rows(structure, row), alone, 1e-5)
        alone_moved = generator.transfer(alone, rows(neutral, row), own, wishes)
        assert_same(rows(moved, row), alone_moved, 1e-4)
        alone_half = generator.blend(alone_moved, own.structure, torch.tensor([row / 2]))
        alone_rgb, alone_alpha = generator.decode(own, alone_half)
        # A control point that differs in its last bit may move a pixel of an edge: only the mean is strict.
        assert float((rgb[row] - alone_rgb[0]).abs().mean()) < 0.1 / 255
        assert float((rgb[row] - alone_rgb[0]).abs().max()) < 8 / 255
        assert torch.allclose(alpha[row], alone_alpha[0], atol=1 / 255)


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
    generator, controls = scene.generator, Controls.default(DRIVERS)
    appearance, driving = batched(scene)
    points = driving.points
    if points is not None:
        points = torch.cat((torch.zeros_like(points[:1]), points[1:]))
    lost = driving._replace(points=points, valid=torch.tensor([False] + [True] * (DRIVERS - 1)))

    def draw(observation: Observation) -> tuple[Any, Tensor]:
        neutral = cat_codes([generator.encode_structure(scene.driving[0])] * DRIVERS)
        moved = generator.transfer(generator.encode_structure(observation), neutral, appearance, controls)
        return moved, generator.decode(appearance, moved)[0]

    (whole, drawn), (moved, rgb) = draw(driving), draw(lost)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in (*tensors(moved), rgb))
    for row in range(1, DRIVERS):
        assert_same(rows(moved, row), rows(whole, row), 1e-4)
        assert float((rgb[row] - drawn[row]).abs().mean()) < 0.1 / 255


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
    if "points" not in generator.spec.reads:
        pytest.skip("reads no landmarks")
    neutral, plain = (generator.encode_structure(scene.driving[row]) for row in (0, 1))
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


def test_the_frame_path_never_waits_for_the_device(scene: Scene) -> None:
    generator, controls = scene.generator, settings()
    appearance, driving = batched(scene)
    with NoHostSync():
        structure = generator.encode_structure(driving)
        moved = generator.transfer(structure, structure, appearance, controls)
        moved = generator.blend(moved, structure, torch.full((DRIVERS,), 0.5))
        generator.decode(appearance, moved)


def test_waiting_for_the_device_would_be_noticed() -> None:
    values = torch.arange(3.0)
    for act in (lambda: values.sum().item(), lambda: values[values > 1], lambda: bool(values.any())):
        with pytest.raises(AssertionError, match="waits"), NoHostSync():
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
def test_the_frame_path_can_be_exported(scene: Scene, name: str) -> None:
    generator, appearance = scene.generator, scene.appearances[0]
    structure = generator.encode_structure(scene.driving[1])
    neutral = generator.encode_structure(scene.driving[0])
    arguments: dict[str, tuple[Any, ...]] = {
        "encode_structure": (scene.driving[1],),
        "transfer": (structure, neutral, appearance, Controls.default()),
        "decode": (appearance, generator.transfer(structure, neutral, appearance, Controls.default())),
    }
    method = getattr(generator, name)
    program = torch.export.export(Call(generator, method), arguments[name])
    # Without its guards: torch 2.13 writes wrong code for them where one field's name begins with another's.
    exported = program.module(check_guards=False)
    assert_same(exported(*arguments[name]), method(*arguments[name]), 1e-4)
