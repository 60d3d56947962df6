"""A phase of a recipe, ready to be stepped: its loss wrapped for the ranks, its gradients, its optimisers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainer.config import Learning, Precision
from trainer.distributed import alone
from trainer.recipe import Made, Phase, Recipe, Seen, Terms, phases_of
from trainer.stopwatch import Stopwatch

Optimisers = Mapping[str, torch.optim.Optimizer]


class Turn:
    """Steps one phase. Under torchrun its loss is wrapped whole, and holds no parameters but those that the
    phase trains: each backward pass then follows one forward pass of the wrapper, whatever the loss does
    within, differentiating twice included."""

    def __init__(
        self, phase: Phase, recipe: Recipe, optimisers: Optimisers, learning: Learning, precision: Precision
    ) -> None:
        self.phase, self.learning, self.precision = phase, learning, precision
        self.optimisers = [optimisers[name] for name in phase.trains]
        self.others = [module for name, module in recipe.networks.items() if name not in phase.trains]
        self.trained = [recipe.networks[name] for name in phase.trains]
        self.bare = loss = _Loss(phase.loss, self.trained)
        self.ddp: DistributedDataParallel | None = None
        self.parameters = list(loss.parameters())
        if dist.is_initialized():
            for parameter in self.parameters:
                parameter.requires_grad_(True)
                if 1 in parameter.shape:
                    parameter.register_hook(_laid_out)  # type: ignore[no-untyped-call]
            self.ddp = DistributedDataParallel(loss)
        self.loss: nn.Module = self.ddp or loss

    def __call__(self, parts: Sequence[Seen], made: Sequence[Made], watch: Stopwatch) -> tuple[Terms, Tensor]:
        """One step on the batch, which comes in parts. The terms' means over the parts, and the length of the
        gradient; where that isn't finite, nothing was changed."""
        self._freeze()
        found: list[Terms] = []
        for number, (views, left) in enumerate(zip(parts, made, strict=True), 1):
            # Only the last part's gradients go to the other ranks, with those of the parts before.
            last = number == len(parts)
            with nullcontext() if last or self.ddp is None else self.ddp.no_sync():
                with watch("forward"):
                    terms = self._forward(self.loss, views, left)
                with watch("backward"):
                    total = torch.stack(list(terms.values())).sum()
                    torch.autograd.backward(total * (self.phase.every / len(parts)))
            found.append({name: term.detach() for name, term in terms.items()})
        with watch("optimiser"):
            longest = self.learning.clip or float("inf")
            length = nn.utils.clip_grad_norm_(self.parameters, longest)
            if bool(torch.isfinite(length)):
                for optimiser in self.optimisers:
                    optimiser.step()
            for optimiser in self.optimisers:
                optimiser.zero_grad()
        return {name: torch.stack([one[name] for one in found]).mean() for name in found[0]}, length

    def rehearse(self, views: Seen, made: Made) -> None:
        """A part's forward and backward pass and nothing else: nothing is changed, no other rank is asked.
        For what they take of the memory, with the optimisers' own."""
        self._freeze()
        # Adam's two moments, which are made in its first step.
        moments = [
            torch.empty_like(parameter)
            for optimiser in self.optimisers
            for group in optimiser.param_groups
            for parameter in group["params"]
            if parameter not in optimiser.state
            for _ in range(2)
        ]
        with alone():
            terms = self._forward(self.bare, views, made)
        torch.autograd.grad(torch.stack(list(terms.values())).sum(), self.parameters, allow_unused=True)
        del moments

    def _forward(self, loss: nn.Module, views: Seen, made: Made) -> Terms:
        with (
            torch.autocast(views.device.type, torch.bfloat16, enabled=self.precision == "bf16"),
            torch.compiler.set_stance("force_eager") if self.phase.eager else nullcontext(),
        ):
            terms: Terms = loss(views, made)
            return terms

    def _freeze(self) -> None:
        for module in self.others:
            module.requires_grad_(False)
        for module in self.trained:
            module.requires_grad_(True)


def _laid_out(gradient: Tensor) -> Tensor:
    """The gradient with strides as the parameter has them. Of a side of 1, autograd's stride is whatever it
    came to be (in R1's, of a layer with one output), and DistributedDataParallel complains of that."""
    return gradient.view(gradient.shape) if gradient.is_contiguous() else gradient


class _Loss(nn.Module):
    """A loss as a module whose parameters are those that it is to change. It has no buffers: the networks'
    follow from their weights, and are the same on all ranks."""

    def __init__(self, loss: Callable[[Any, Made], Terms], trained: Iterable[nn.Module]) -> None:
        super().__init__()
        self.loss = loss
        self.trained = nn.ParameterList(one for module in trained for one in module.parameters())

    def forward(self, views: Seen, made: Made) -> Terms:
        return self.loss(views, made)


def optimisers_of(recipe: Recipe, learning: Learning, on_cuda: bool) -> dict[str, torch.optim.Optimizer]:
    """An Adam for each network. One that a phase trains every k-th step only besides the others has its rate
    and moments corrected by k/(k + 1) (Karras et al., StyleGAN2, appendix B)."""
    found: dict[str, torch.optim.Optimizer] = {}
    for name, network in recipe.networks.items():
        share = lazy_share(recipe, name)
        first, second = learning.betas
        found[name] = torch.optim.Adam(
            network.parameters(),
            lr=base_rate(learning, name) * share,
            betas=(first**share, second**share),
            fused=on_cuda,
        )
    return found


def base_rate(learning: Learning, network: str) -> float:
    return learning.discriminator if network == "discriminator" else learning.generator


def lazy_share(recipe: Recipe, network: str) -> float:
    """k/(k + 1) of a network that is regularised every k steps, 1 of any other."""
    every = max((phase.every for phase in phases_of(recipe) if network in phase.trains), default=1)
    return 1.0 if every == 1 else every / (every + 1)
