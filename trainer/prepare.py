"""Data sets of talking heads:

    python -m trainer.prepare synthetic --identities 1000 --frames 64 --size 256 --output data/rendered
    python -m trainer.prepare synthetic --motions data/videos --output data/replayed
    torchrun --nproc-per-node 8 -m trainer.prepare synthetic --device cuda --output data/rendered
    python -m trainer.prepare videos data/VFHQ --output data/vfhq
    python -m trainer.prepare stills data/portraits --motions data/videos --output data/moved
    python -m trainer.prepare shards data/rendered --output data/archives --size-mb 256
    python -m trainer.prepare sheet --output sheet.jpg
    python -m trainer.prepare check --media ../shared/media --output check
    python -m trainer.prepare coefficients --data data/rendered --output coefficients.safetensors
    python -m trainer.prepare moves --upstream runs/encoder --data data/rendered --output moves.safetensors

What writes clips goes on where it was interrupted when it is run again; `trainer/data/clips.py` says what
then lies there.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models.command_line import fail, parse, reported, tell

NAME = "python -m trainer.prepare"

Command = Callable[[Sequence[str], str], None]  # takes its arguments and what it is called


def synthetic(arguments: Sequence[str], program: str) -> None:
    """Render clips of people who don't exist."""
    from models.native_messages import native_messages_muted
    from trainer.data.progress import shown
    from trainer.data.rendering import Rendering, index_rendered, render_clips
    from trainer.data.workers import Rank

    asked = parse(Rendering, arguments, program, synthetic.__doc__)
    with native_messages_muted():
        replayed = asked.replayed
    if replayed is not None and Rank.here().rank == 0:
        for remark in replayed.remarks:
            tell(remark, program)
    if asked.index_only:
        print(f"{asked.output}: {len(index_rendered(asked).clips)} clips of {asked.clips}.")
        return
    for progress in shown(render_clips(asked), asked.frames, "pictures"):
        done = progress
    if asked.indexed:
        print(f"{asked.output}: {asked.clips} clips, {done.new} of them new.")
    else:
        print(f"{asked.output}: this rank is done; the last rank makes the index.")


def videos(arguments: Sequence[str], program: str) -> None:
    """Track, cut and filter real videos of faces."""
    from models.native_messages import native_messages_muted
    from trainer.data.videos import VideoSettings, prepare_videos

    asked = parse(VideoSettings, arguments, program, videos.__doc__)
    with native_messages_muted():
        _told(asked.output, prepare_videos(asked, progress=_counted))


def stills(arguments: Sequence[str], program: str) -> None:
    """Make portraits move as people in videos do."""
    from models.native_messages import native_messages_muted
    from trainer.data.stills import StillSettings, prepare_stills

    asked = parse(StillSettings, arguments, program, stills.__doc__)
    with native_messages_muted():
        _told(asked.output, prepare_stills(asked, progress=_counted))


def _counted(done: int, of: int) -> None:
    """A line every tenth of the way."""
    if done == of or 10 * done // of > 10 * (done - 1) // of:
        print(f"{done} of {of} done", file=sys.stderr, flush=True)


def _told(output: Path, report: dict[str, Any]) -> None:
    kept = report["kept"]
    print(
        f"{output}: {kept['shots']} clips, {kept['frames']} frames. report.md says what was left out and why."
    )


def shards(arguments: Sequence[str], program: str) -> None:
    """Put a prepared data set into WebDataset archives."""
    from trainer.data.shards import Sharding, write_shards

    asked = parse(Sharding, arguments, program, shards.__doc__)
    for path in write_shards(asked):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB", flush=True)


def sheet(arguments: Sequence[str], program: str) -> None:
    """Draw a page of rendered people, their expressions and poses."""
    from trainer.data.realism.sheet import SheetSettings, draw_sheet

    print(draw_sheet(parse(SheetSettings, arguments, program, sheet.__doc__)))


def check(arguments: Sequence[str], program: str) -> None:
    """Measure how real rendered faces are, each figure beside its goal."""
    from trainer.data.realism import check as measures
    from trainer.data.realism.readings import table

    asked = parse(measures.CheckSettings, arguments, program, check.__doc__)
    for found in measures.check(asked):
        print(table([found]), flush=True)


def coefficients(arguments: Sequence[str], program: str) -> None:
    """Teach a network to tell from a picture how a face looks and what it does."""
    from trainer import coefficients as lessons

    asked = parse(lessons.CoefficientSettings, arguments, program, coefficients.__doc__)
    found = lessons.prepare(asked, _counted)
    for line in lessons.report(found):
        print(line)
    print(asked.output)


def moves(arguments: Sequence[str], program: str) -> None:
    """Find out how codes of StyleGAN2 move where faces do."""
    from trainer.moves import MovesSettings, prepare_moves

    found = prepare_moves(parse(MovesSettings, arguments, program, moves.__doc__))
    if found.moves.fit > 0:
        print(
            f"of {found.clips} clips; their labels explain {100 * found.moves.fit:.0f} % of the codes' moves"
        )
    else:
        print(f"of {found.clips} clips, whose motion nobody knows")
    if found.drift is not None:
        print(
            f"spread of a walk's appearance in that between people: {found.drift:.2f}; of the clips' own "
            f"pictures, as this face model sees them: {found.of_clips:.2f}"
        )


# What a command needs is imported when it is called.
COMMANDS: dict[str, Command] = {
    "synthetic": synthetic,
    "videos": videos,
    "stills": stills,
    "shards": shards,
    "sheet": sheet,
    "check": check,
    "coefficients": coefficients,
    "moves": moves,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit code 2 and one line for what can't be done, 130 after Ctrl-C."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(f"usage: {NAME} COMMAND [OPTIONS]; COMMAND --help lists its options\n")
        print("\n".join(f"  {one:<12} {run.__doc__}" for one, run in COMMANDS.items()))
        return 0
    if name not in COMMANDS:
        fail(f"command {name!r} is unknown; known: {', '.join(COMMANDS)}", NAME)
    program = f"{NAME} {name}"
    return reported(
        lambda: COMMANDS[name](rest, program), program, "stopped; run it again to go on from here"
    )


if __name__ == "__main__":
    sys.exit(main())
