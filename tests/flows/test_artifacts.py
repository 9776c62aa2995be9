"""The texts of the artifacts: bounded, and what users have named is never Markdown."""

from html import unescape
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from extract.failures import Failure
from flows.pipeline.artifacts import failure_table, markdown_text, metrics_markdown

MARKUP = (
    "yard [b]",
    "[x](javascript:alert(1))",
    "![x](http://host/a.png)",
    "<img src=x onerror=alert(1)>",
    "*a* _b_ __c__ ~~d~~ `e`",
    "# a",
    "a | b",
    "&lt; $x$ \\",
)


def rendered(text: str) -> str:
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    markdown.validateLink = lambda url: True  # type: ignore[method-assign]  # `file:` links too
    return markdown.render(text)


@pytest.mark.parametrize("name", MARKUP)
def test_names_are_shown_as_they_are(name: str) -> None:
    assert unescape(rendered(f"x {markdown_text(name)}")) == f"<p>x {name}</p>\n"


def test_a_name_cannot_end_its_line() -> None:
    assert markdown_text("a\n# b\x1b") == r"a\\n\# b\\x1b"


def test_the_table_of_failures_has_ten_rows_and_counts_the_rest() -> None:
    failures = [Failure(name, Path(f"{name}.mp4"), f"{name} is damaged", 7) for name in MARKUP]
    rows, description = failure_table(failures)
    assert (len(rows), description) == (len(MARKUP), "Videos without features")
    assert rows[0]["video"] == r"yard \[b\]"
    assert rows[0]["frame"] == 7
    rows, description = failure_table(failures * 200)
    assert (len(rows), description) == (
        10,
        "Videos without features; 1,590 more in features/failures.csv",
    )


def test_the_metrics_have_notes_with_the_reasons_of_missing_figures(tmp_path: Path) -> None:
    metrics = {
        **dict.fromkeys(("auc", "ap", "anomaly_auc", "far", "map"), None),
        "video": dict.fromkeys(
            ("accuracy", "auc", "ap", "anomaly_accuracy", "event_accuracy", "background_accuracy")
        )
        | {"auc": 0.75},
        "confidence_intervals": {"video_auc": [0.5, 1.0]},
        "confidence_level": 0.9,
        "missing": {"auc": "1 anomalous video(s) without temporal annotations, first: yard [b]"},
        "notes": ["<b>trial</b>"],
    }
    text = metrics_markdown("re[port](x)", metrics, tmp_path / "a [b].html")
    page = rendered(text)
    assert "<h1>re[port](x)</h1>" in page
    assert "&lt;b&gt;trial&lt;/b&gt;" in page
    assert "no AUC: 1 anomalous video(s) without temporal annotations, first: yard [b]" in page
    assert "<th>90 % interval</th>" in page
    assert "<td>Video AUC</td>\n<td>75.00</td>\n<td>50.00 – 100.00</td>" in page
    assert f'<a href="{(tmp_path / "a [b].html").as_uri()}">{tmp_path}/a [b].html</a>' in page
