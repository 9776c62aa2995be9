"""Text for people: times, shortened lists, names with characters that no terminal shows."""

import pytest

from extract.display import format_time, printable, shortened


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00.00"),
        (1.275, "0:01.27"),
        (59.994, "0:59.99"),
        (59.996, "1:00.00"),  # not 0:60.00
        (75.5, "1:15.50"),
        (3599.996, "1:00:00.00"),
        (4000, "1:06:40.00"),
        (360_000.25, "100:00:00.25"),
        (-0.2, "0:00.00"),
    ],
)
def test_times_have_hours_from_an_hour_on(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


def test_times_without_decimals() -> None:
    assert [format_time(seconds, 0) for seconds in (0, 59.6, 4000.4)] == ["0:00", "1:00", "1:06:40"]


def test_ten_names_are_shown_and_the_rest_is_counted() -> None:
    names = [f"v{number}" for number in range(1234)]
    assert shortened(names[:10]) == ", ".join(names[:10])
    assert shortened(names) == f"{', '.join(names[:10])} and 1,224 more"
    assert shortened(iter(names)) == shortened(names)
    assert shortened([]) == ""


def test_only_as_many_names_are_made_as_are_shown() -> None:
    made = []
    shortened((made.append(number) or str(number) for number in range(100)), total=100)
    assert len(made) == 10


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("yard [b] :fire: 東京 naïve", "yard [b] :fire: 東京 naïve"),
        ("caf\udce9", r"caf\xe9"),
        ("a\nb\x1b[31m", r"a\nb\x1b[31m"),
        ("x\u202egnp.mp4", r"x\u202egnp.mp4"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_a_terminal_obeys_or_cannot_encode_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode()
