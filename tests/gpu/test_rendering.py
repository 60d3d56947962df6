"""The parts of the renderer of faces, on a CUDA device as on the CPU."""

import numpy as np
import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def test_triangles_are_drawn_alike_on_both_devices_and_always_the_same() -> None:
    from tests.trainer.synthetic.meshes import seen, sphere  # not for machines that only run the generators
    from trainer.data.synthetic.rasteriser import interpolate, rasterise

    points, triangles = sphere(9.0, 60, 60)
    shaken = points + torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (4, *points.shape))).float()
    vertices = seen(shaken, 256)
    here = rasterise(vertices, triangles, 256, 256)
    there = rasterise(vertices.cuda(), triangles.cuda(), 256, 256)
    again = rasterise(vertices.cuda(), triangles.cuda(), 256, 256)
    assert all(torch.equal(one, other) for one, other in zip(there, again, strict=True))
    assert torch.equal(there.covered.cpu(), here.covered)
    torch.testing.assert_close(there.depth.cpu(), here.depth, rtol=1e-5, atol=0)
    assert (there.triangle.cpu() == here.triangle).float().mean() > 0.9999
    same = (there.triangle.cpu() == here.triangle).flatten()[here.covered]
    values = interpolate(there, shaken.cuda(), triangles.cuda()).cpu()
    expected = interpolate(here, shaken, triangles)
    torch.testing.assert_close(values[same], expected[same], rtol=1e-4, atol=1e-4)


def test_noise_is_the_same_on_both_devices() -> None:
    from trainer.data.synthetic.lens import noise

    stream, frame = torch.tensor([3, 2**61 + 7]), torch.tensor([0, 40])
    there = noise(stream.cuda(), frame.cuda(), (64, 64)).cpu()
    torch.testing.assert_close(there, noise(stream, frame, (64, 64)), rtol=1e-6, atol=1e-6)
