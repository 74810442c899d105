"""What anybody could have written is harmless to look at."""

from __future__ import annotations

import re

from markupsafe import Markup

from tests.conftest import ROOT
from tracker.terminal import plain
from web.text import harmless, shorten


def test_characters_that_hide_or_turn_text_become_visible() -> None:
    assert harmless("a\u202eb\u200bc\x1bd\x00") == "a\u27e8U+202E\u27e9b\u27e8U+200B\u27e9c\u241bd\u2400"


def test_letters_of_all_languages_stay_as_they_are() -> None:
    names = "na\u00efve \u0434\u0430 \u4f60\u597d \u05e9\u05dc\u05d5\u05dd \U0001f680\nline\ttab"
    assert harmless(names) == names


def test_numbers_and_markup_of_ours_are_left_alone() -> None:
    assert harmless(3) == 3
    assert harmless(Markup("<b>\u200b</b>")) == "<b>\u200b</b>"


def test_a_long_name_is_cut_visibly() -> None:
    assert shorten("x" * 100, 10) == "x" * 9 + "\u2026"
    assert shorten(None) == ""


def test_colours_and_titles_of_a_terminal_are_taken_out() -> None:
    assert plain("\x1b[1;31mred\x1b[0m \x1b]0;title\x07text") == "red text"


def test_a_progress_bar_shows_its_last_state() -> None:
    assert plain("begin\n 10%\r 50%\r100%\nend\r\n") == "begin\n100%\nend\n"


def test_a_huge_unended_code_takes_no_time() -> None:
    assert len(plain("\x1b]" * 100_000)) <= 200_000
    assert len(plain("\x1b[" + ";" * 200_000)) <= 200_002


def test_the_scripts_of_the_page_show_the_same_characters_as_the_server() -> None:
    script = (ROOT / "web/static/js/tables.js").read_text()
    found = re.search(r"UNSEEN = /(\[.*\])/gu", script)
    assert found is not None
    of_script = re.compile(re.sub(r"\\u\{(\w+)\}", lambda code: f"\\U{int(code[1], 16):08x}", found[1]))
    for code in (*range(0xD800), *range(0xE000, 0x1_0000), *range(0xE_0000, 0xE_0100)):
        assert bool(of_script.match(chr(code))) == (harmless(chr(code)) != chr(code)), hex(code)
