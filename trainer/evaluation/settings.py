"""What an evaluation can be told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer.data.synthetic.motion import STILLS, check_style
from trainer.evaluation.sequences import FRAMES, SEQUENCES, STYLE, check_sequences

SYNTHETIC = "synthetic"  # in place of a folder


@dataclass(frozen=True)
class Settings:
    """What is measured. Raises ValueError for numbers that make no sense."""

    weights: str
    """Of the network: safetensors, a training run or a checkpoint of one (the averaged generator), or the
    name of a model that needs none (warp)."""
    output: Path
    """The folder to write: a new or an empty one."""
    data: str = SYNTHETIC
    """synthetic, or a folder that trainer.prepare wrote."""
    protocol: Literal["pairs", "sequences"] = "pairs"
    """pairs: a few frames each, across identities and within one; sequences: videos, each shown by a frame of
    another video of the same person, as the paper of latent does it."""
    landmarks: str = "auto"
    """Who finds them for the AKD: mediapipe, the file of a LandmarkRegressor's weights, or none; auto:
    mediapipe where it is installed."""
    identities: int = 24
    """Rendered people, or at most twice as many clips of a folder; all sequences are of so many people."""
    motions: int = 1
    """Of other rendered people, for each."""
    frames: int = 4
    """Drawn of each motion or clip, of pairs."""
    sequences: int = SEQUENCES
    """How many; of a folder at most."""
    sequence_frames: tuple[int, int] = FRAMES
    """Of each sequence: the fewest and the most."""
    size: int = 0
    """Side of rendered pictures, pixels; 0: half as much again as the network's, at most 384."""
    style: str | None = None
    """How rendered people move: stills, over the whole range, or seated, before a camera on a desk; or as in
    one kind of video: talking, listening, expressive, wild, idle. Left out: stills, in sequences talking."""
    seed: int = 0
    """Of the rendered people: the training's own, whose held-out people these then are."""
    held_out: float = 0.1
    """Share of the people that training left out, as it was told."""
    probes: int = 24
    """Rendered people whose codes are probed; 0: none."""
    transfers: int = 20
    """Rendered people, ten pictures of each, who swap what they do; 0: none. Of latent."""
    coefficients: Path | None = None
    """Who judges that: weights of a CoefficientRegressor, others than training had. Without, nobody does."""
    pictures: bool = False
    """Write every drawn picture and its truth, for networks that run elsewhere. A sequence has a folder."""
    lpips: tuple[Path, ...] = ()
    """Weights of AlexNet and of LPIPS."""
    csim_synthetic: Path | None = None
    """Weights of an IdentityEmbedder that learnt rendered people."""
    fid_inception: Path | None = None
    """Features of drawn and true pictures, by Inception-V3."""
    fvd_i3d: Path | None = None
    """Features of drawn and true clips, by I3D."""
    aced_l1: Path | None = None
    """Embeddings of drawn pictures and of what they should be of, by a classifier of people: of sequences,
    their sources."""
    csim: Path | None = None
    """Embeddings of drawn and true pictures, by a face recognition network."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where there is some."""

    def __post_init__(self) -> None:
        for name in ("identities", "motions", "frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: expected at least 1")
        check_sequences(self.sequences, self.sequence_frames)
        check_style(self.style)
        if not 0 < self.held_out < 1:
            raise ValueError(f"held-out {self.held_out:g}: expected a share between 0 and 1")
        if self.size < 0 or self.probes < 0:
            raise ValueError("size and probes: expected at least 0")
        if self.transfers < 0 or self.transfers == 1:
            raise ValueError(f"transfers {self.transfers}: expected at least 2 people, or 0")

    @property
    def motion(self) -> str:
        """The style, given or not."""
        return self.style or (STILLS if self.protocol == "pairs" else STYLE)
