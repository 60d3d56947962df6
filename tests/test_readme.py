"""What the documents tell people to do, exists."""

import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from models import registry
from models.command_line import parse
from realtime.animate import Animation
from realtime.bench.__main__ import BENCHES
from realtime.config import Settings

ROOT = Path(__file__).parent.parent
PAGES = [*sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]), ROOT / "Makefile"]


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", text_of(page)):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_commands_can_be_run(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    for target in re.findall(r"`make ([a-z-]+)", text_of(page)):
        assert target in targets, f"make {target}"
    for module in re.findall(r"python -m ((?:models|realtime|trainer)[a-z_.]*)", text_of(page)):
        assert importlib.util.find_spec(module.rstrip(".")) is not None, module


def commands_of(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Module and arguments of every `python -m …` on a page, in a block of code or within a line, and of
    every `make serve`, which is one."""
    fenced = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
    text = text_of(page).replace("\\\n", "").replace("\\", "/")  # lines that go on; Windows
    lines = re.findall(r"`([^`]+)`", fenced.sub("", text))
    for block in fenced.findall(text):
        lines += block.splitlines()
    for words in (
        shlex.split(line, comments=True) for line in lines if re.search(r"python -m|make serve", line)
    ):
        if "-m" in words and "…" not in words:
            module, *arguments = words[words.index("-m") + 1 :]
            yield module, arguments
        elif words[:2] == ["make", "serve"]:
            given = {"SOURCE": "face.png", "ARGS": ""} | dict(word.split("=", 1) for word in words[2:])
            if "…" not in given["ARGS"]:
                yield "realtime.serve", ["--source", given["SOURCE"], *shlex.split(given["ARGS"])]


def refused(module: str, arguments: list[str]) -> bool:
    """Whether the program would end with a mistake at that command line. Nothing of it is done."""
    programs = {"realtime.serve": Settings, "realtime.animate": Animation}
    if module == "realtime.bench" and arguments:
        place, name = BENCHES[arguments.pop(0)]
        settings = getattr(importlib.import_module(place), name)
    elif module in programs and arguments:  # without any it is only named
        settings = programs[module]
    else:
        return False
    try:
        parse(settings, arguments, module, "", repeated=True)
    except SystemExit as end:  # well, after --help
        return bool(end.code)
    return False


@pytest.mark.parametrize("page", PAGES[:-1], ids=lambda page: page.name)
def test_documented_options_are_the_programs_own(page: Path) -> None:
    for module, arguments in commands_of(page):
        assert not refused(module, list(arguments)), (module, arguments)


def test_commands_are_found_on_a_page() -> None:
    found = list(commands_of(ROOT / "README.md"))
    assert [module for module, _ in found].count("realtime.serve") >= 4
    assert ["--source", "portrait.jpg", "--driving", "clip.mp4", "--output", "avatar.mp4"] in [
        a for _, a in found
    ]
    sheets = [arguments for _, arguments in commands_of(ROOT / "CONTRIBUTING.md")]
    assert any("--no-sheet-driver" in arguments for arguments in sheets)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    folders = "models|realtime|trainer|tests|docs|examples"
    for name in re.findall(rf"`((?:{folders})/[\w./-]+)`", text_of(page)):
        assert (ROOT / name).exists(), name


def test_the_map_of_the_tree_is_true() -> None:
    block = text_of(ROOT / "README.md").split("## What is where")[1].split("```")[1]
    parents: list[str] = []
    for line in filter(None, block.splitlines()):
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        parents[depth:] = [name]
        assert (ROOT / "".join(parents)).is_dir(), name


def test_the_table_of_networks_is_true() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \| (.*) \|$", text_of(ROOT / "README.md"), re.MULTILINE)
    told = {name: (tuple(re.findall(r"`([\w-]+)`", sizes)), most.split()[-1]) for name, sizes, most in rows}
    specs = [registry.get(name).spec for name in registry.MODULES]
    assert told == {
        spec.name: (tuple(filter(None, spec.sizes)), str(spec.max_sources))
        for spec in specs
        if spec.needs_weights
    }


def test_every_decision_says_why_and_what_follows() -> None:
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [page.name[:3] for page in pages] == [f"{number:03}" for number in range(1, len(pages) + 1)]
    for page in pages:
        assert all(f"**{part}.**" in text_of(page) for part in ("Context", "Decision", "Consequence")), (
            page.name
        )
