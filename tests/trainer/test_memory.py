"""A batch that is too big for the memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer import small_runs as runs
from tests.trainer.data.pretender import folder
from tests.trainer.small_runs import SmallRecipe, opened
from trainer import checkpoint, journal
from trainer.data.views import Views
from trainer.memory import advice, largest_that_fits, ran_out


def test_both_kinds_of_memory_are_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert ran_out(caught.value)
    assert ran_out(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert not ran_out(RuntimeError("expected scalar type Float but found Half"))


def room_for(most: int, tried: list[int], error: type[RuntimeError]) -> Callable[[int], None]:
    def attempt(size: int) -> None:
        tried.append(size)
        if size > most:
            raise error("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")

    return attempt


@pytest.mark.parametrize(
    ("size", "most", "tried", "fits"),
    [
        (64, 17, [32, 16], 16),
        (64, 63, [32], 32),
        (64, 1, [32, 16, 8, 4, 2, 1], 1),
        (64, 0, [32, 16, 8, 4, 2, 1], None),
        (12, 2, [6, 3, 1], 1),  # parts have to be of one size
        (7, 5, [1], 1),
        (1, 0, [], None),
    ],
)
@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError])
def test_halves_are_tried_until_one_fits(
    size: int, most: int, tried: list[int], fits: int | None, error: type[RuntimeError]
) -> None:
    seen: list[int] = []
    assert largest_that_fits(size, room_for(most, seen, error)) == fits
    assert seen == tried


def test_other_faults_are_not_taken_for_it() -> None:
    def attempt(size: int) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        largest_that_fits(8, attempt)


def test_the_advice_is_what_fits() -> None:
    assert advice(64, 1, 16) == (
        "batch 64 does not fit into memory: --accumulate 4 works it off in parts of 16, which fit"
    )
    assert advice(64, 2, 8) == (
        "batch 64 does not fit into memory: --accumulate 4 works it off in parts of 8 on each of 2 ranks, "
        "which fit"
    )
    assert advice(64, 1, None).endswith("nor does a single sample: take a smaller --model")


class Greedy(SmallRecipe):
    """Takes more memory than there is for more than `most` samples: in its first phase, or in its last."""

    most, in_last = 3, False
    tried: list[int]

    def drawn(self, views: Views) -> Tensor:
        if self.training and not self.in_last:
            self._take(len(views.image))
        return super().drawn(views)

    def hinge(self, views: Views, made: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.in_last:
            self._take(len(views.image))
        return super().hinge(views, made)

    def _take(self, count: int) -> None:
        self.tried.append(count)
        if count > self.most:
            torch.empty(2**60)


@pytest.mark.parametrize("in_last", [False, True])
def test_a_run_says_what_fits_and_changes_nothing(
    in_last: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where only the second stage is too big."""
    monkeypatch.setattr(journal, "_open_board", runs.no_board)
    data = folder(tmp_path / "data", identities=30)
    recipe: Any = Greedy(runs.USUAL)
    recipe.in_last, recipe.tried = in_last, []
    options: dict[str, Any] = {"pictures": 32, "batch": 16, "accumulate": 2, "checkpoint_every": 16}
    with opened(tmp_path / "run", data, recipe, **options) as run:
        before = {name: one.clone() for name, one in recipe.generator.state_dict().items()}
        with pytest.raises(ValueError, match=r"^batch 16 .*--accumulate 8 .* parts of 2, which fit$"):
            run.run()
        assert recipe.tried == [8, 4, 2]
        assert all(one.grad is None for one in recipe.parameters())
        if in_last:
            assert run.progress.step == 1
            kept = checkpoint.latest_whole(tmp_path / "run" / "checkpoints")
            assert kept is not None
        else:
            assert run.progress.step == 0
            after = recipe.generator.state_dict()
            assert all(torch.equal(after[name], one) for name, one in before.items())
    # What was advised is enough.
    with opened(tmp_path / "other", data, recipe, **options | {"accumulate": 8}) as run:
        assert run.run().step == 2
