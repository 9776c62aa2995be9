"""README, CONTRIBUTING and the pages of `docs/`: code blocks, inline code, links, headings and tables."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
SITE_PAGES = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, CONTRIBUTING, *SITE_PAGES]
BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced code block; `run` is False if the comment `<!-- not run: … -->` precedes it."""

    page: Path
    line: int
    language: str
    text: str
    run: bool

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path, language: str) -> list[Block]:
    """The page's code blocks in a language, in order."""
    text = page.read_text()
    return [
        Block(
            page,
            text.count("\n", 0, found.start()) + 1,
            found[1],
            found[2],
            not re.search(r"<!-- not run: .* -->\s*$", text[: found.start()]),
        )
        for found in BLOCK.finditer(text)
        if found[1] == language
    ]


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return BLOCK.sub("", page.read_text())


def inline_code(page: Path) -> list[str]:
    """The texts between single or double backticks."""
    return [found[2].strip() for found in re.finditer(r"(?<!`)(`{1,2})(?!`)(.+?)(?<!`)\1(?!`)", prose(page))]


def shell_lines(page: Path) -> list[str]:
    """The commands of the page's console blocks: lines that begin with `$ `."""
    lines = [line.strip() for block in blocks(page, "console") for line in block.text.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def links(page: Path) -> list[str]:
    """Targets of links and pictures, without those to other sites."""
    return re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors of the page's headings."""
    return {_slug(heading) for heading, _ in _sections(page)}


def table(page: Path, heading: str) -> list[str]:
    """First cells, without backticks, of the rows of the first table below a heading."""
    for found, text in _sections(page):
        if found.replace("`", "") == heading:
            rows = [line for line in text.splitlines() if line.startswith("|")][2:]
            return [re.split(r"(?<!\\)\|", row)[1].strip().replace("`", "") for row in rows]
    raise ValueError(f"{page.name} has no heading {heading!r}")


def terms(page: Path) -> list[str]:
    """Terms of definition lists that are inline code as a whole."""
    found = re.findall(r"^(`{1,2})([^\n]+?)\1\n:   ", prose(page), re.MULTILINE)
    return [term.strip() for _, term in found]


def _sections(page: Path) -> Iterator[tuple[str, str]]:
    """Headings with the text up to the next heading."""
    parts = re.split(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    yield from zip(parts[1::2], parts[2::2], strict=True)


def _slug(heading: str) -> str:
    words = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
    return re.sub(r"[-\s]+", "-", words)
