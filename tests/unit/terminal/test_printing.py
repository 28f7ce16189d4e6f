"""What a terminal is written: one line a cell, whatever strangers put into it."""

from crowd_assets.terminal import printing


def test_cells_move_no_cursor_and_are_no_markup() -> None:
    assert printing.harmless("[red]a\x1b[2J\nb") == "\\[red]a\ufffd[2J b"
    assert printing.harmless(1 / 3) == "0.333"
    assert printing.harmless_lines("a\x1b\nb") == "a\ufffd\nb"


def test_a_table_shows_a_dash_for_nothing_and_a_strangers_cell_as_it_is() -> None:
    with printing.console.capture() as shown:
        printing.print_table("People", [("who_is_it", False), ("points", True)], [("[b]ann[/b]", None), ("bob", 2.5)])
    title, heads, ann, bob = (line.rstrip() for line in shown.get().splitlines() if line.strip())
    assert (title, heads.split()) == ("People", ["who", "is", "it", "points"])
    assert ann.split() == ["[b]ann[/b]", "–"]
    assert bob.split() == ["bob", "2.500"]
