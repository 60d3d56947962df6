"""What the documents tell people to do, exists."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "Makefile"])


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


def test_every_decision_says_why_and_what_follows() -> None:
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [page.name[:3] for page in pages] == [f"{number:03}" for number in range(1, len(pages) + 1)]
    for page in pages:
        assert all(f"**{part}.**" in text_of(page) for part in ("Context", "Decision", "Consequence")), (
            page.name
        )
