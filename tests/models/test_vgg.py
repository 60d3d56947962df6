"""VGG-19: torchvision's keys, the features of one that is stated anew here, and which weights are read."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from models.vgg import HUB_NAME, LAYERS, Vgg19, load_vgg, vgg_file

State = dict[str, Tensor]

# torchvision.models.vgg19().features: place of each convolution, channels in and out, its ReLU's name.
PUBLISHED = (
    (0, 3, 64, "relu1_1"),
    (2, 64, 64, "relu1_2"),
    (5, 64, 128, "relu2_1"),
    (7, 128, 128, "relu2_2"),
    (10, 128, 256, "relu3_1"),
    (12, 256, 256, "relu3_2"),
    (14, 256, 256, "relu3_3"),
    (16, 256, 256, "relu3_4"),
    (19, 256, 512, "relu4_1"),
    (21, 512, 512, "relu4_2"),
    (23, 512, 512, "relu4_3"),
    (25, 512, 512, "relu4_4"),
    (28, 512, 512, "relu5_1"),
    (30, 512, 512, "relu5_2"),
    (32, 512, 512, "relu5_3"),
    (34, 512, 512, "relu5_4"),
)
PARAMETERS = 20_024_384  # of the convolutions


@pytest.fixture(scope="module")
def vgg() -> Vgg19:
    torch.manual_seed(0)
    return Vgg19()


@pytest.fixture(scope="module")
def state(vgg: Vgg19) -> State:
    """What torchvision's file holds, with a small classifier."""
    return dict(vgg.state_dict()) | {
        "classifier.0.weight": torch.ones(4, 4),
        "classifier.0.bias": torch.ones(4),
    }


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch's hub keeps files: a folder that is not there yet."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def stated_anew(state: State, picture: Tensor) -> State:
    """Every layer's features, from the published table."""
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    x = torch.stack([(picture[:, i] - mean[i]) / deviation[i] for i in range(3)], 1)
    found, block = {}, "1"
    for index, _, _, name in PUBLISHED:
        if name[4] != block:
            x, block = F.max_pool2d(x, 2, 2), name[4]
        weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
        x = F.conv2d(x, weight, bias, padding=1).clamp(min=0)
        found[name] = x
    return found


# The network


def test_keys_and_shapes_are_torchvisions(vgg: Vgg19) -> None:
    expected: dict[str, tuple[int, ...]] = {}
    for index, before, after, _ in PUBLISHED:
        expected[f"features.{index}.weight"] = (after, before, 3, 3)
        expected[f"features.{index}.bias"] = (after,)
    assert {key: tuple(value.shape) for key, value in vgg.state_dict().items()} == expected
    assert list(vgg.state_dict()) == list(expected)
    assert sum(value.numel() for value in vgg.parameters()) == PARAMETERS


def test_layers_are_named_after_block_and_number() -> None:
    assert {name: index + 1 for index, _, _, name in PUBLISHED} == LAYERS


def test_features_are_those_of_a_vgg_stated_anew(vgg: Vgg19) -> None:
    picture = torch.rand(2, 3, 40, 34, generator=torch.Generator().manual_seed(1))
    found, expected = vgg(picture, tuple(LAYERS)), stated_anew(dict(vgg.state_dict()), picture)
    assert found.keys() == expected.keys()
    for name, features in expected.items():
        assert features.abs().max() > 0
        torch.testing.assert_close(found[name], features, rtol=1e-4, atol=1e-6, msg=name)


def test_some_layers_are_the_same_as_all(vgg: Vgg19) -> None:
    """ReLUs work in place: what is handed out must not be changed by what follows."""
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    every = vgg(picture, tuple(LAYERS))
    for name in LAYERS:
        assert torch.equal(vgg(picture, (name,))[name], every[name])


def test_nothing_behind_the_deepest_layer_is_computed(vgg: Vgg19) -> None:
    ran = []
    hooks = [
        part.register_forward_hook(lambda *_, index=index: ran.append(index))
        for index, part in enumerate(vgg.features)
    ]
    picture = torch.rand(1, 3, 16, 16)
    found = vgg(picture, ("relu3_2", "relu1_1"))
    for hook in hooks:
        hook.remove()
    assert ran == list(range(LAYERS["relu3_2"] + 1))
    assert set(found) == {"relu3_2", "relu1_1"}
    assert vgg(picture, ()) == {}


def test_it_does_not_learn_and_yet_passes_gradients_on(vgg: Vgg19) -> None:
    assert not vgg.training
    assert not any(parameter.requires_grad for parameter in vgg.parameters())
    picture = torch.rand(1, 3, 16, 16, requires_grad=True)
    vgg(picture, ("relu5_1",))["relu5_1"].sum().backward()
    assert picture.grad is not None
    assert picture.grad.abs().max() > 0


def test_gradient_against_differences() -> None:
    torch.manual_seed(3)
    vgg = Vgg19().double()
    picture = torch.rand(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    layers = ("relu1_2", "relu3_1")
    assert torch.autograd.gradcheck(lambda x: tuple(vgg(x, layers).values()), picture, fast_mode=True)


def test_a_picture_at_imagenets_mean_enters_as_nought(vgg: Vgg19) -> None:
    picture = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    bias = vgg.state_dict()["features.0.bias"].relu()
    torch.testing.assert_close(vgg(picture, ("relu1_1",))["relu1_1"][0, :, 4, 4], bias, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("layer", "side"), [("relu1_2", 1), ("relu2_1", 2), ("relu4_3", 8), ("relu5_1", 16)])
def test_small_pictures_go_as_deep_as_there_are_pixels(vgg: Vgg19, layer: str, side: int) -> None:
    assert vgg(torch.rand(1, 3, side, side + 1), (layer,))[layer].shape[-2:] == (1, 2 if side == 1 else 1)
    if side > 1:
        with pytest.raises(
            ValueError, match=f"^a picture of {side - 1}×64 is too small for {layer} .* {side} pix"
        ):
            vgg(torch.rand(1, 3, side - 1, 64), ("relu1_1", layer))


def test_an_unknown_layer_is_refused(vgg: Vgg19) -> None:
    with pytest.raises(ValueError, match=r"^unknown layer 'relu2_3' of VGG-19; known: relu1_1, .*, relu5_4$"):
        vgg(torch.rand(1, 3, 32, 32), ("relu1_1", "relu2_3"))


# Its weights


@pytest.mark.parametrize("name", ["vgg19.pth", "vgg19.safetensors"])
def test_weights_of_a_given_path(state: State, vgg: Vgg19, tmp_path: Path, name: str) -> None:
    if name.endswith(".pth"):
        torch.save(state, tmp_path / name)
    else:
        save_file(state, tmp_path / name)
    found = load_vgg(tmp_path / name)
    assert found is not None
    for key, value in found.state_dict().items():
        assert torch.equal(value, vgg.state_dict()[key]), key
    assert not any(parameter.requires_grad for parameter in found.parameters())


def test_weights_of_the_hubs_cache_and_none_without(state: State, hub: Path, tmp_path: Path) -> None:
    assert load_vgg(None) is None
    assert vgg_file(None) is None
    hub.mkdir(parents=True)
    torch.save(state, hub / HUB_NAME)
    assert vgg_file(None) == hub / HUB_NAME
    assert vgg_file(tmp_path / "own.pth") == tmp_path / "own.pth"
    assert isinstance(load_vgg(None), Vgg19)


def test_a_run_draws_the_same_numbers_with_and_without_weights(state: State, hub: Path) -> None:
    hub.mkdir(parents=True)
    torch.save(state, hub / HUB_NAME)
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    assert load_vgg(None) is not None
    assert torch.equal(torch.rand(4), expected)


def without(state: State, key: str) -> State:
    return {name: value for name, value in state.items() if name != key}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_not_vgg_19_is_refused(state: State, tmp_path: Path, suffix: str) -> None:
    last = "features.34.weight"
    for change, message in (
        (without(state, last), f"{last} is missing; VGG-19 expects 512×512×3×3 float32 under that key"),
        (state | {"features.36.weight": torch.ones(1)}, "features.36.weight is unexpected: .*"),
        (state | {last: torch.ones(512, 256, 3, 3)}, f"{last} is 512×256×3×3 float32; VGG-19 expects .*"),
        (
            state | {last: torch.full((512, 512, 3, 3), torch.nan)},
            f"{last} holds NaN or infinite numbers; .*",
        ),
    ):
        path = tmp_path / f"weights{suffix}"
        if suffix == ".pth":
            torch.save(change, path)
        else:
            save_file(change, path)
        with pytest.raises(ValueError, match=f"^{path}: {message}$"):
            load_vgg(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_damaged_file_is_refused(state: State, tmp_path: Path, hub: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    with pytest.raises(ValueError, match=f"^{path}: there is no such file$"):
        load_vgg(path)
    small = {"features.0.weight": state["features.0.weight"]}
    if suffix == ".pth":
        torch.save(small, path)
    else:
        save_file(small, path)
    whole = path.read_bytes()
    for data in (b"", b"<html>no weights here</html>", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=rf"^{path}: .* damaged .*") as caught:
            load_vgg(path)
        assert "\n" not in str(caught.value)
    hub.mkdir(parents=True)
    (hub / HUB_NAME).write_bytes(whole[:100])
    with pytest.raises(ValueError, match=HUB_NAME):  # not passed over as if there were none
        load_vgg(None)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_of_a_pickle_is_run(state: State, tmp_path: Path, zipped: bool) -> None:
    folder, path = tmp_path / "made", tmp_path / "weights.pth"
    small = {"features.0.weight": Trap(folder)}
    torch.save(small, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        ValueError, match=r"asks for \w+\.mkdir, which weights never need; nothing of it was run"
    ):
        load_vgg(path)
    path.write_bytes(pickle.dumps(small))
    with pytest.raises(ValueError, match=f"^{path}: "):
        load_vgg(path)
    assert not folder.exists()
    pickle.loads(path.read_bytes())
    assert folder.exists()  # the trap works


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for found, message in (
        ([torch.ones(2)], "the file holds no table of names"),
        ({"features.0.weight": 3}, "the file: features.0.weight is no plain tensor"),
    ):
        torch.save(found, path)
        with pytest.raises(ValueError, match=f"^{path}: {message}"):
            load_vgg(path)
