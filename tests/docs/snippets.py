"""Running the documentation's Python blocks."""

import ast
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.docs.markdown import Block


def run_blocks(blocks: Sequence[Block], folder: Path) -> dict[str, Any]:
    """Run a page's blocks one after the other in one namespace, with `folder` as the working folder.

    Of a block that is marked as not run, the syntax is checked and the imports are run.
    """
    namespace: dict[str, Any] = {"__name__": "a_page_of_the_documentation"}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for block in blocks:
            tree = ast.parse(block.text, str(block))
            if not block.run:
                tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
            ast.increment_lineno(tree, block.line)
            exec(compile(tree, str(block), "exec"), namespace)
    finally:
        os.chdir(before)
    return namespace
