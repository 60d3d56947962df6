"""Data sets of talking heads:

    python -m trainer.prepare synthetic --identities 1000 --frames 64 --size 256 --output data/rendered
    torchrun --nproc-per-node 8 -m trainer.prepare synthetic --device cuda --output data/rendered
    python -m trainer.prepare shards data/rendered --output data/archives --size-mb 256
    python -m trainer.prepare sheet --output sheet.jpg
    python -m trainer.prepare check --media ../shared/media --output check

The first three go on where they were interrupted when they are run again. `trainer/data/clips.py` says what
then lies there.
"""

import sys
from collections.abc import Callable, Sequence

from trainer.command_line import fail, parse, tell

NAME = "python -m trainer.prepare"
STOPPED = 130  # exit code after Ctrl-C

Command = Callable[[Sequence[str], str], None]  # takes its arguments and what it is called


def synthetic(arguments: Sequence[str], program: str) -> None:
    """Render clips of people who don't exist."""
    from trainer.data.progress import shown
    from trainer.data.rendering import Rendering, index_rendered, render_clips

    asked = parse(Rendering, arguments, program, synthetic.__doc__)
    if asked.index_only:
        print(f"{asked.output}: {len(index_rendered(asked).clips)} clips of {asked.clips}.")
        return
    for progress in shown(render_clips(asked), asked.frames, "pictures"):
        done = progress
    if asked.indexed:
        print(f"{asked.output}: {asked.clips} clips, {done.new} of them new.")
    else:
        print(f"{asked.output}: this rank is done; the last rank makes the index.")


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


# What a command needs is imported when it is called.
COMMANDS: dict[str, Command] = {"synthetic": synthetic, "shards": shards, "sheet": sheet, "check": check}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit code 2 and one line for what can't be done, 130 after Ctrl-C."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(f"usage: {NAME} COMMAND [OPTIONS]; COMMAND --help lists its options\n")
        print("\n".join(f"  {one:<10} {run.__doc__}" for one, run in COMMANDS.items()))
        return 0
    if name not in COMMANDS:
        fail(f"command {name!r} is unknown; known: {', '.join(COMMANDS)}", NAME)
    program = f"{NAME} {name}"
    try:
        COMMANDS[name](rest, program)
    except OSError as error:
        tell(f"{error.filename or 'error'}: {error.strerror or error}", program)
        return 2
    except ValueError as error:
        tell(str(error), program)
        return 2
    except KeyboardInterrupt:
        tell("stopped; run it again to go on from here", program)
        return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
