"""Files in the layouts of public tools: each comes in right, or is refused in words. The texts are our own."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner
from upath import UPath

from crowd_assets.importers.chat import refuse_unusable
from crowd_assets.importers.cli import app
from crowd_assets.importers.records import RowError
from resources.feedback.events import Limits
from tests.reading import read_file

CASES = Path(__file__).parent / "cases"
LIMITS = Limits(line_bytes=10**6, text_characters=20_000)


def imported(
    folder: Path, command: str, name: str, *options: str
) -> tuple[Result, list[dict[str, Any]], list[dict[str, Any]]]:
    """What the command line says, the events, and the rows that it skipped."""
    arguments = [command, str(CASES / name), "--out", str(folder), "--name", "mine", *options]
    result = CliRunner().invoke(app, arguments)
    events, skipped = [], []
    for path in sorted(folder.glob("mine*.jsonl")):
        parsed = read_file(UPath(path), LIMITS)
        assert parsed.rejections == []
        events += parsed.events
    for path in folder.glob("mine.skipped.txt"):
        skipped = [json.loads(line) for line in path.read_text().splitlines()]
    return result, events, skipped


@pytest.mark.parametrize(
    ("command", "days", "options"),
    [
        ("table", ("demo_day1.csv", "demo_day2.csv"), ("--mapping", str(CASES / "csv.toml"))),
        ("table", ("grown_day1.csv", "grown_day2.csv"), ("--mapping", str(CASES / "grown.toml"))),
        ("trl-preference", ("trl_day1.jsonl", "trl_day2.jsonl"), ()),
    ],
)
def test_the_next_day_s_export_brings_its_new_row_and_nothing_else(
    tmp_path: Path, command: str, days: tuple[str, str], options: tuple[str, ...]
) -> None:
    _, first, _ = imported(tmp_path / "1", command, days[0], *options)
    _, second, _ = imported(tmp_path / "2", command, days[1], *options, "--start", "2026-03-01T00:00:00Z")
    known = {event["event_id"] for event in first}
    assert len(known) == len(first) >= 30
    assert known < {event["event_id"] for event in second}
    assert len(second) == len(first) + 1


def test_a_completion_that_is_not_wanted_is_no_demonstration(tmp_path: Path) -> None:
    result, events, skipped = imported(tmp_path / "1", "trl-prompt-completion", "kto.jsonl")
    assert [event["response"] for event in events] == ["Lovely, thank you!"]
    assert skipped[0]["reason"].startswith("label is false: not wanted")
    assert result.exit_code == 1
    result, events, _ = imported(tmp_path / "2", "trl-prompt-completion", "kto.jsonl", "--take-unwanted")
    assert (result.exit_code, len(events)) == (0, 2)


def test_a_quote_that_begins_a_cell_of_a_tab_table_is_a_letter(tmp_path: Path) -> None:
    _, events, skipped = imported(tmp_path, "table", "unquoted.tsv", "--mapping", str(CASES / "unquoted.toml"))
    assert [event["contributor_id"] for event in events] == ["ann", "bob", "cay", "dan"]
    assert events[0]["response"] == '"I begin a quotation'
    assert skipped == []


def test_a_quoted_cell_that_swallows_rows_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    text = (CASES / "unquoted.tsv").read_text().replace("\t", ",")
    (tmp_path / "swallowed.csv").write_text(text)
    arguments = [
        str(tmp_path / "swallowed.csv"),
        "--out",
        str(tmp_path / "out"),
        "--mapping",
        str(CASES / "unquoted.toml"),
    ]
    result = CliRunner().invoke(app, ["table", *arguments])
    assert result.exit_code == 2
    assert "line 2" in result.output
    assert 'quote = "none"' in result.output


def test_columns_that_mechanical_turk_leaves_out_at_the_end_are_empty(tmp_path: Path) -> None:
    _, events, skipped = imported(tmp_path, "table", "mturk_batch.csv", "--mapping", str(CASES / "mturk_batch.toml"))
    assert [event["probability_a"] for event in events] == [1.0, 0.0]
    assert skipped == []


def test_a_rejected_assignment_is_left_out_where_the_mapping_says_so(tmp_path: Path) -> None:
    mapping = (CASES / "mturk_batch.toml").read_text() + '[where]\nAssignmentStatus = "!= Rejected"\n'
    (tmp_path / "m.toml").write_text(mapping)
    result, events, skipped = imported(
        tmp_path / "out", "table", "mturk_batch.csv", "--mapping", str(tmp_path / "m.toml")
    )
    assert [event["contributor_id"] for event in events] == ["WAAA"]
    assert skipped[0]["reason"] == "left out by where: AssignmentStatus is 'Rejected'"
    assert result.exit_code == 0, "what the user's own filter leaves out is no loss"


def test_mechanical_turk_s_times_are_read(tmp_path: Path) -> None:
    _, events, _ = imported(tmp_path, "table", "mturk_nopad.csv", "--mapping", str(CASES / "mturk_batch_times.toml"))
    assert [event["submitted_at"].isoformat() for event in events] == [
        "2020-11-27T00:00:03+00:00",
        "2020-11-26T23:59:19+00:00",
    ]


def test_labels_of_one_s_own_are_listed_until_the_user_says_what_they_mean(tmp_path: Path) -> None:
    result, events, _ = imported(tmp_path / "1", "label-studio", "ls_own_labels.json")
    assert result.exit_code == 1
    assert "label 'a_winner' of winner is not understood" in result.output
    assert "label 'b_winner' of winner is not understood" in result.output
    said = ("--label", "a_winner=A", "--label", "b_winner=B")
    for number, options in enumerate([said, ("--choices", "winner", *said)]):
        result, events, _ = imported(tmp_path / f"2{number}", "label-studio", "ls_own_labels.json", *options)
        assert [event["probability_a"] for event in events] == [1.0, 0.0, 0.5]
        assert result.exit_code == 0


def test_words_for_the_better_answer_are_understood(tmp_path: Path) -> None:
    _, events, skipped = imported(tmp_path, "label-studio", "ls_label_words.json", "--choices", "winner")
    found = {int(event["response_a"].split()[1].rstrip(".")): event for event in events}
    assert skipped == []
    assert [row for row, event in found.items() if event["probability_a"] > 0.5] == [1, 3, 5, 7, 11, 12, 13, 14]
    assert [row for row, event in found.items() if event["probability_a"] < 0.5] == [2, 4, 6]
    assert [row for row, event in found.items() if event["probability_a"] == 0.5] == [8, 9, 10]
    assert [row for row, event in found.items() if event["both_bad"]] == [9, 10]


def test_a_tag_that_asks_something_else_is_no_preference(tmp_path: Path) -> None:
    result, events, skipped = imported(tmp_path / "1", "label-studio", "ls_only_other_question.json")
    assert (events, result.exit_code) == ([], 1)
    assert "which_is_longer (choices)" in skipped[0]["reason"]
    _, events, _ = imported(
        tmp_path / "2", "label-studio", "ls_only_other_question.json", "--choices", "which_is_longer"
    )
    assert [event["probability_a"] for event in events] == [1.0]


def test_the_input_of_an_instruction_is_part_of_the_prompt(tmp_path: Path) -> None:
    _, events, _ = imported(tmp_path, "label-studio", "ls_input_lost.json")
    assert [event["prompt"] for event in events] == ["Translate to French.\n\ndog", "Translate to French.\n\ncat"]


@pytest.mark.parametrize("options", [((), ()), (("--source", "north"), ("--source", "south"))])
def test_two_servers_user_1_are_two_people(tmp_path: Path, options: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
    found = [
        imported(tmp_path / name, "label-studio", f"ls_server_{name}.json", *more)[1][0]
        for name, more in zip("ab", options, strict=True)
    ]
    assert found[0]["contributor_id"] != found[1]["contributor_id"]
    assert found[0]["comparison_id"] != found[1]["comparison_id"]


def test_stars_of_both_answers_are_a_comparison(tmp_path: Path) -> None:
    (event,) = imported(tmp_path, "label-studio", "ls_ratings.json")[1]
    assert event["probability_a"] == pytest.approx(0.952574, abs=1e-6)


def test_a_dialogue_is_a_conversation(tmp_path: Path) -> None:
    (event,) = imported(tmp_path, "label-studio", "ls_dialogue.json", "--prompt-field", "dialogue")[1]
    said = json.loads(event["messages"])
    assert [each["role"] for each in said] == ["user", "assistant", "user"]
    assert event["prompt"] == said[-1]["content"] == "How was the fair?"


def test_a_number_and_an_address_seen_together_are_one_person_and_no_address_is_kept(tmp_path: Path) -> None:
    _, events, _ = imported(tmp_path, "label-studio", "ls_email.json")
    assert len(events) == 4
    assert len({event["contributor_id"] for event in events}) == 1
    assert not any("@" in path.read_text() for path in tmp_path.iterdir())


def test_what_changes_a_row_s_meaning_is_used_or_skips_it(tmp_path: Path) -> None:
    _, events, skipped = imported(tmp_path, "trl-preference", "trl_variants.jsonl")
    assert {row["row"]: row["reason"].split(":")[0] for row in skipped} == {
        3: "row has images",
        4: "both answers have the same score",
        5: "the conversations part before their last messages",
    }
    kind, rude = events[-2:]
    assert kind["comparison_id"] != rude["comparison_id"]
    assert [json.loads(each["messages"])[0]["content"] for each in (kind, rude)] == ["You are kind.", "You are rude."]
    assert "Say hi\n\nto Ann" in [event["prompt"] for event in events]


def test_equal_scores_are_no_certainty(tmp_path: Path) -> None:
    _, events, skipped = imported(tmp_path, "trl-preference", "trl_scores_tie.jsonl")
    assert events == []
    assert skipped[0]["reason"] == "both answers have the same score"


def test_how_sure_a_row_is_counts(tmp_path: Path) -> None:
    (event,) = imported(tmp_path, "trl-preference", "trl_prob.jsonl")[1]
    assert max(event["probability_a"], 1 - event["probability_a"]) == pytest.approx(0.65)


def test_an_id_of_the_prompt_names_three_comparisons(tmp_path: Path) -> None:
    _, events, _ = imported(tmp_path, "trl-preference", "trl_prompt_id.jsonl")
    assert len({event["comparison_id"] for event in events}) == 3


def test_completions_in_every_layout(tmp_path: Path) -> None:
    _, events, skipped = imported(tmp_path, "trl-prompt-completion", "trl_completions.jsonl", "--allow-skipped", "50%")
    assert [row["row"] for row in skipped] == [1, 7, 12]
    assert "tool_calls" in skipped[0]["reason"]
    # Rows 4, 8, 9 and 10 ask and answer the same: one event.
    assert {event["prompt"] for event in events} == {"Hi", "Say hi", "Say hi\n\nto Ann"}


def test_a_number_that_a_spreadsheet_wrote_is_the_number(tmp_path: Path) -> None:
    _, events, _ = imported(tmp_path, "table", "csv_dot_num.csv", "--mapping", str(CASES / "csv.toml"))
    assert [event["contributor_id"] for event in events] == ["1", "2", "1"]


def test_ratings_in_argilla_are_comparisons(tmp_path: Path) -> None:
    _, events, _ = imported(tmp_path, "argilla", "argilla_ratings.json")
    found = {event["contributor_id"]: event["probability_a"] for event in events}
    assert found["argilla-u1"] > 0.5
    assert found["argilla-u2"] == 0.5


def test_argilla_s_flat_records_and_words_are_read(tmp_path: Path) -> None:
    assert [event["probability_a"] for event in imported(tmp_path / "1", "argilla", "argilla_flat.jsonl")[1]] == [
        1.0,
        0.0,
    ]
    assert [event["probability_a"] for event in imported(tmp_path / "2", "argilla", "argilla_labels.json")[1]] == [
        1,
        0.5,
        0,
    ]


@pytest.mark.parametrize(
    "name",
    [
        "array.jsonl",
        "array_pretty.jsonl",
        "x.jsonl.gz",
        "gzipped_as.jsonl",
        "lines.txt",
        "lines.json",
        "dataset_dict.json",
        *("data_key.json", "cr.jsonl", "crlf.jsonl", "bom.jsonl", "utf16.json"),
    ],
)
def test_every_container_of_three_rows(tmp_path: Path, name: str) -> None:
    result, events, _ = imported(tmp_path, "trl-preference", name)
    assert [event["prompt"] for event in events] == ["How was fair 0?", "How was fair 1?", "How was fair 2?"]
    assert result.exit_code == 0


@pytest.mark.parametrize("name", ["columns.json", "pandas.json"])
def test_columns_are_rows(tmp_path: Path, name: str) -> None:
    assert len(imported(tmp_path, "trl-preference", name)[1]) == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("trailing.json", "element 2"),
        ("truncated.json", "element 2"),
        ("csv_nul.csv", "neither JSON"),
        ("empty.jsonl", "empty"),
        ("dupkeys.jsonl", "line is not JSON"),
        ("cp1252.jsonl", "line is not UTF-8"),
        ("rawnul.jsonl", "line is not JSON"),
    ],
)
def test_a_broken_file_is_refused_in_words(tmp_path: Path, name: str, said: str) -> None:
    result, events, _ = imported(tmp_path, "trl-preference", name)
    assert result.exit_code in (1, 2)
    assert events == []
    assert said in result.output


@pytest.mark.parametrize("name", ["csv_bom.csv", "csv_cr.csv", "csv_trailing.csv", "csv_index.csv", "csv_utf16.csv"])
def test_tables_of_text_as_programs_write_them(tmp_path: Path, name: str) -> None:
    (event,) = imported(tmp_path, "table", name, "--mapping", str(CASES / "csv.toml"))[1]
    assert (event["contributor_id"], event["prompt"], event["response"]) == ("ann", "What?", "Fine.")


def test_comparison_posts_and_arena_votes_are_known_by_their_keys(tmp_path: Path) -> None:
    result, (event,), _ = imported(tmp_path / "1", "auto", "shp.jsonl")
    assert "import table" in result.output
    assert "--mapping shp" in result.output
    assert (event["probability_a"], event["response_a"]) == (1.0, "Lovely.")
    _, events, _ = imported(tmp_path / "2", "table", "arena.jsonl", "--mapping", "arena")
    assert [(event["probability_a"], event["both_bad"]) for event in events] == [
        (1, None),
        (0, None),
        (0.5, None),
        (0.5, True),
    ]
    assert events[0]["submitted_at"].year == 2023


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("trl_day1.jsonl", "trl-preference"),
        ("kto.jsonl", "trl-prompt-completion"),
        ("argilla_flat.jsonl", "argilla"),
        ("argilla_chat.json", "argilla"),
        ("ls_gt.json", "label-studio"),
        ("ls_min.json", "label-studio"),
        ("mturk_batch.csv", "table --mapping mturk"),
    ],
)
def test_auto_says_the_command_and_shows_the_first_rows(name: str, command: str) -> None:
    result = CliRunner().invoke(app, ["auto", str(CASES / name)])
    words = command.split()
    assert f"import {words[0]} " in result.output
    assert " ".join(words[1:]) in result.output


def test_a_second_turn_is_compared_with_the_first(tmp_path: Path) -> None:
    result, (first, both, later), _ = imported(tmp_path, "auto", "mt_bench.jsonl")
    assert "--mapping mt_bench" in result.output
    assert (first["response_a"], first["response_b"], first["probability_a"]) == ("The Elbe.", "The Rhine.", 1.0)
    assert both["prompt"] == "Name a river."
    assert both["response_a"] == "The Elbe.\n\nHuman: And its mouth?\n\nAssistant: Cuxhaven."
    assert both["response_b"] == "The Rhine.\n\nHuman: And its mouth?\n\nAssistant: Rotterdam."
    assert both["probability_a"] == 0.0
    assert (later["prompt"], later["response_a"], later["contributor_id"]) == ("And its mouth?", "Cuxhaven.", "gpt-4")
    assert [each["role"] for each in json.loads(later["messages"])] == ["user", "assistant", "user"]


def test_the_radio_button_that_is_ticked_says_its_name(tmp_path: Path) -> None:
    _, events, skipped = imported(tmp_path, "auto", "mturk_onehot.csv")
    assert [(event["contributor_id"], event["probability_a"]) for event in events] == [
        ("w1", 1),
        ("w2", 0),
        ("w3", 0.5),
    ]
    assert [each["reason"] for each in skipped] == [
        "several of Answer.choice.* are ticked",
        "no probability_a",
        "left out by where: AssignmentStatus is 'Rejected'",
        "Answer.choice.left is neither true nor false",
    ]


def test_questions_of_a_survey_stand_in_its_second_header_row(tmp_path: Path) -> None:
    result, events, skipped = imported(tmp_path, "auto", "qualtrics_questions.csv")
    assert "--mapping qualtrics_questions" in result.output
    assert [
        (event["contributor_id"], event["prompt"], event["response_a"], event["probability_a"]) for event in events
    ] == [
        ("p1", "What shall we do in the rain?", "Dance.", 1.0),
        ("p1", "Who sings (Q&A: no)?", "The choir.", 1.0),
        ("R_2", "What shall we do in the rain?", "Dance.", 0.5),
    ]
    assert [each["reason"] for each in skipped] == ["left out by where: Status is 'Survey Preview'"]
    text = (CASES / "qualtrics_questions.csv").read_text()
    (tmp_path / "twice.csv").write_text(text.replace("Dance.", "Dance. A: Sing."))
    assert "marks several times" in CliRunner().invoke(app, ["auto", str(tmp_path / "twice.csv")]).output
    (tmp_path / "none.csv").write_text(text.replace("A: ", ""))
    assert "no column like 'Q[0-9]*'" in CliRunner().invoke(app, ["auto", str(tmp_path / "none.csv")]).output


def test_what_programs_write_for_nothing_is_no_answer(tmp_path: Path) -> None:
    from openpyxl import Workbook

    (tmp_path / "m.toml").write_text(
        'kind = "demonstration"\n[columns]\ncontributor_id = "who"\nprompt = "q"\nresponse = "a"'
    )
    (tmp_path / "a.csv").write_text("who,q,a\nann,Why?,So.\nNA,Why?,So.\nann,Who?,\\N\nann,Where?,#NAME?\n")
    book = Workbook()
    for row in (["who", "q", "a"], ["ann", "Why?", "So."], ["ann", "Who?", "x" * 32_767]):
        book.active.append(row)
    book.create_sheet("Later").append(["who", "q", "a"])
    book.save(tmp_path / "a.xlsx")
    found = {
        name: imported(tmp_path / name, "table", str(tmp_path / f"a.{name}"), "--mapping", str(tmp_path / "m.toml"))[1:]
        for name in ("csv", "xlsx")
    }
    assert [[event["response"] for event in events] for events, _ in found.values()] == [["So."], ["So."]]
    assert [each["reason"] for each in found["csv"][1]] == ["no contributor_id", "no response", "no response"]
    assert [each["reason"][:13] for each in found["xlsx"][1]] == ["no response", "sheet 'Later'"]


@pytest.mark.parametrize(
    ("rows", "found", "said"),
    [
        # Saved by a spreadsheet: quotes where need be, and True for true.
        (['true\t"<b class=""x"">Yes</b>"', "True\tNo.", "False\tMaybe."], ['<b class="x">Yes</b>', "No."], "where"),
        (['true\t"No", he said.', 'true\tThe ""end"".'], ['"No", he said.', 'The ""end"".'], ""),
        (["true\tx"] * 200 + ['true\t"a ""b"" c"'], ["x"], "a cell is in quotes"),
    ],
)
def test_cells_between_tabs_are_in_quotes_where_one_shows_it(
    tmp_path: Path, rows: list[str], found: list[str], said: str
) -> None:
    (tmp_path / "a.tsv").write_text("\n".join(["trusted\tanswer", *rows, ""]))
    (tmp_path / "m.toml").write_text(
        'kind = "demonstration"\n[where]\ntrusted = "true"\n[columns]\nresponse = "answer"\n[defaults]\nprompt = "Why?"\ncontributor_id = "c"'
    )
    _, events, skipped = imported(
        tmp_path / "out", "table", str(tmp_path / "a.tsv"), "--mapping", str(tmp_path / "m.toml")
    )
    assert [event["response"] for event in events] == found
    assert (said in skipped[0]["reason"]) if said else not skipped


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{'prompt': 'Why?', 'completion': 'So.'}\n", "line is not JSON"),
        ('[["prompt", "completion"], ["Why?", "So."]]', "row is not an object"),
    ],
)
def test_auto_says_why_no_row_can_be_read(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    result = CliRunner().invoke(app, ["auto", str(tmp_path / "a.jsonl")])
    assert result.exit_code == 2
    assert said in result.output


def test_auto_lists_the_fields_of_a_layout_that_nobody_knows() -> None:
    result = CliRunner().invoke(app, ["auto", str(CASES / "csv_bom.csv")])
    assert result.exit_code == 2
    assert "'who', 'q', 'a'" in result.output


@pytest.mark.parametrize(
    ("begins", "said"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "password"),
        (b"%PDF-1.4\n%\xe2\xe3", "a PDF"),
        (b"\x80\x04\x95" + bytes(9), "pickle"),
        (b"BZh91AY&SY" + bytes(9), "unpack it first"),
        (gzip.compress(gzip.compress(b'{"prompt": "Why?"}')), "packed twice"),
        (b"a.csv".ljust(257, b"\0") + b"ustar\x0000", "an archive"),
        (b"\n <table><tr><td>prompt</td></tr></table>", "a page of the web"),
        ("prompt,completion\nWhy?,So.\nWho?,Me.\n".encode("utf-16-le"), "UTF-16 without a mark"),
    ],
)
@pytest.mark.parametrize("command", [["auto"], ["trl-preference"], ["table", "--mapping", "arena"]])
def test_a_file_that_people_take_for_a_table_is_called_by_its_name(
    tmp_path: Path, begins: bytes, said: str, command: list[str]
) -> None:
    (tmp_path / "a.xlsx").write_bytes(begins)
    result = CliRunner().invoke(
        app, [command[0], str(tmp_path / "a.xlsx"), *command[1:], "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le", "utf-32-le", "utf-8"])
def test_a_mark_says_which_encoding_a_text_has(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes("\ufeffprompt,chosen,rejected\nWhy?,x,y\n".encode(encoding))
    (tmp_path / "b.jsonl").write_bytes('\ufeff{"prompt": "Why?", "chosen": "x", "rejected": "y"}\n'.encode(encoding))
    for name in ("a.csv", "b.jsonl"):
        result = CliRunner().invoke(app, ["trl-preference", str(tmp_path / name), "--out", str(tmp_path / name[0])])
        assert (result.exit_code, "wrote 1 preferences" in result.output) == (0, True), result.output


SAYS = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
PAIR = {"prompt": "Why?", "chosen": "So.", "rejected": "Hm."}
WORKED = {
    "HITId": "h",
    "WorkerId": "w",
    "AssignmentStatus": "Approved",
    "SubmitTime": "Thu Nov 26 16:00:03 PST 2020",
    "Input.left": "So.",
    "Input.right": "Hm.",
}
TASK = {"id": 1, "project": 1, "data": {"prompt": "Why?", "answer1": "So.", "answer2": "Hm."}}
OF_MINIMAL = {"id": "1", "prompt": "Why?", "answer1": "So.", "answer2": "Hm.", "annotator": "7", "annotation_id": "3"}


def task(type_: str, name: str, value: dict[str, Any], **data: Any) -> dict[str, Any]:
    result = {"type": type_, "from_name": name, "to_name": "prompt", "value": value}
    return {**TASK, "data": TASK["data"] | data, "annotations": [{"id": 1, "completed_by": 7, "result": [result]}]}  # type: ignore[operator]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        # What changes the meaning of a row is used, or the row is skipped.
        ({"messages": [SAYS[0], {**SAYS[1], "weight": 0}]}, "not to be learnt"),
        ({"instruction": "Why?", "input": "", "output": "So.", "kto_tag": None}, "kto_tag is empty"),
        ({"question": "Which?", "choices": ["a", "b"], "answer": "a"}, "choices"),
        ({**PAIR, "is_tie": True}, "is_tie is true"),
        ({**PAIR, "margin": 0}, "margin is not above 0"),
        ({"instruction": "Why?", "output": "So.", "history": "We spoke of rain."}, "history"),
        ({"instruction": "Why?", "images": ["a.png"], "completions": [{"response": "a", "overall_score": 9}, {"response": "b", "overall_score": 1}]}, "row has images"),
        ({"judge": "j", "conversation_a": SAYS, "conversation_b": [SAYS[0], {**SAYS[1], "content": "Hm."}], "winner": "model_a", "images": ["a.png"]}, "row has images"),
        ({**PAIR, "chosen-rating": 5.0, "rejected-rating": 5.0}, "the same score"),
        ({**PAIR, "chosen_rank": 2, "rejected_rank": 1}, "higher score"),
        ({"history": "Why?", "human_ref_A": "a", "human_ref_B": "b", "labels": 1, "score_A": "9", "score_B": 9.0}, "the same"),
        (task("ranker", "r", {"ranker": {"good": ["a"], "bad": ["b"]}}, items=[{"id": "a", "body": "x"}, {"id": "b", "body": "y"}]), "several buckets (good, bad)"),
        (task("number", "preference", {"number": -3}), "--scale"),
        ({"query": "<img>https://example.org/a.jpeg</img>Who?", "response": "A fox."}, "shows an image"),
        ({"prompt": "Why?", "completion": ["So.", "Hm."]}, "a list of texts"),
        ({"row_idx": 0, "row": PAIR, "truncated_cells": ["chosen"]}, "cut off"),
        ({**PAIR, "contributor_id": "NaN"}, "no contributor_id"),
        ({"prompt": "Why?", "completion": "So.", "desirable": False}, "not wanted"),
        ({"prompt": "Why?", "response": "So.", "rating": "thumbs_down"}, "not wanted"),
        ({**PAIR, "is_deleted": 1}, "marked as deleted"),
        ({**PAIR, "contributor_id": "1.23E+11"}, "a spreadsheet rounded"),
        # Every refusal names what is there.
        ({"prompt": "Why?", "output": ""}, "prompt', 'output"),
        ({"conversations": [], "id": 1, "messages": [{"role": "Alice", "content": "x"}]}, "call it user or assistant"),
    ],
)  # fmt: skip
def test_a_row_that_says_something_else_is_refused_in_words(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    result = CliRunner().invoke(app, ["auto", str(tmp_path / "rows.json"), "--out", str(tmp_path / "out")])
    assert result.exit_code in (1, 2)
    assert said in result.output
    assert not list(tmp_path.glob("out/*.jsonl"))


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"instruction": "Why?", "context": "It rains.", "response": "So."}, {"prompt": "Why?\n\nIt rains."}),
        ({"instruction": "Why?", "input": "<noinput>", "output": "So."}, {"prompt": "Why?", "response": "So."}),
        ({"conversation": [{"input": "Why?", "output": "So."}]}, {"prompt": "Why?", "response": "So."}),
        ({"conversation": [{"system": "Be kind.", "human": "Hi", "assistant": "Hello."}, {"human": "Why?", "assistant": "So."}]}, {"prompt": "Why?", "response": "So."}),
        ({"context": SAYS[:1], "chosen": SAYS[1:], "rejected": [{**SAYS[1], "content": "Hm."}]}, {"prompt": "Why?"}),
        ({"chosen_messages": SAYS, "rejected_messages": [SAYS[0], {"role": "assistant", "content": [{"type": "text", "value": "Hm."}]}]}, {"prompt": "Why?"}),
        ({"instruction": "Why?", "output_1": "So.", "output_2": "Hm.", "preference": 0.0, "annotator": "g"}, {"probability_a": 0.5}),
        ({"row_idx": 0, "row": PAIR, "truncated_cells": []}, {"prompt": "Why?"}),
        ({"messages": [{"role": "system", "content": ""}, *SAYS]}, {"response": "So."}),
        ({"prompt": "Why?", "response": "So.", "feedback": "Nice.", "rating": 5}, {"response": "So."}),
        ({**PAIR, "contributor_id": "Jose\u0301\u200b"}, {"contributor_id": "Jos-9a362b26e6d4da20"}),
        ({"messages": [SAYS]}, {"prompt": "Why?", "response": "So."}),
        ({"text": "### Human: Why?### Assistant: So."}, {"prompt": "Why?", "response": "So."}),
        ({"text": "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nSo.<|im_end|>"}, {"prompt": "Why?", "response": "So."}),
        ({**PAIR, "contributor_id": 7.0}, {"contributor_id": "7"}),
        ({"input": {"messages": SAYS[:1]}, "preferred_output": SAYS[1:], "non_preferred_output": [{**SAYS[1], "content": "Hm."}]}, {"prompt": "Why?"}),
        ({"prompt": "\n\nHuman: Why?\n\nAssistant: ", "turns": 1, "num_responses": 2, "answers": [{"answer": "So.", "rank": 1}, {"answer": "Hm.", "rank": 2}]}, {"prompt": "Why?"}),
        ({**WORKED, "Answer.taskAnswers": '[{"choice": {"label": "right"}}]'}, {"probability_a": 0.0}),
        ({"external_id": "e", "prompt": "Why?", "response-1": "So.", "response-2": "Hm.", "ranking": [{"user_id": "u", "value": {"rank": [2, 1], "value": ["response-1", "response-2"]}}]}, {"probability_a": 0.0}),
        ({**OF_MINIMAL, "p": [{"selected": "right"}]}, {"probability_a": 0.0}),
        ({**OF_MINIMAL, "stars1": [{"rating": 4}], "stars2": [{"rating": 4}]}, {"probability_a": 0.5}),
    ],
)  # fmt: skip
def test_a_row_as_a_tool_writes_it_is_known_and_comes_in_right(
    tmp_path: Path, row: dict[str, Any], found: dict[str, Any]
) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    result = CliRunner().invoke(
        app, ["auto", str(tmp_path / "rows.json"), "--out", str(tmp_path / "out"), "--name", "x"]
    )
    assert result.exit_code == 0, result.output
    event = json.loads((tmp_path / "out" / "x.jsonl").read_text())
    assert {name: event[name] for name in found} == found
    assert ("messages" in event) == ("Be kind." in json.dumps(row))


@pytest.mark.parametrize(
    ("text", "command", "found"),
    [
        ('"INPUT:prompt"\t"OUTPUT:result"\n"Why?"\t"So."\n', "table", "So."),
        (f"{json.dumps(SAYS)}\n{json.dumps(SAYS)}\n", "auto", "So."),
        ('[{"prompt": "Why?", "completion": "So."}]\n[{"prompt": "Who?", "completion": "Me."}]\n', "auto", "So."),
        ("prompt,completion\nWhy?,So.\n", "trl-prompt-completion", "So."),
        ('sep=;\r\nINPUT:prompt;OUTPUT:result\r\n"Why; so?";So.\r\n', "table", "So."),
    ],
)
def test_tables_in_quotes_lists_of_one_and_workbooks_are_read(
    tmp_path: Path, text: str, command: str, found: str
) -> None:
    source = tmp_path / "a.txt"
    source.write_text(text)
    if command == "trl-prompt-completion":
        from openpyxl import Workbook

        book = Workbook()
        for line in text.splitlines():
            book.active.append(line.split(","))
        book.save(source)
    mapping = '{"kind": "demonstration", "columns": {"prompt": "INPUT:prompt", "response": "OUTPUT:result"}, "defaults": {"contributor_id": "a"}}'
    (tmp_path / "m.json").write_text(mapping)
    options = ["--mapping", str(tmp_path / "m.json")] if command == "table" else []
    result = CliRunner().invoke(app, [command, str(source), "--out", str(tmp_path), "--name", "x", *options])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "x.jsonl").read_text().splitlines()[0])["response"] == found


def test_a_table_of_another_encoding_is_refused_with_a_way_out_that_the_command_has(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("prompt,chosen,rejected\nQué?,x,y\n".encode("cp1252"))
    result = CliRunner().invoke(app, ["trl-preference", str(tmp_path / "a.csv"), "--out", str(tmp_path)])
    assert (result.exit_code, "iconv" in result.output, "in the mapping" in result.output) == (2, True, False)


def test_people_that_a_column_may_name_are_spoken_of(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{**PAIR, "annotator": "ann"}]))
    result = CliRunner().invoke(app, ["auto", str(tmp_path / "a.json")])
    assert "--contributor-column annotator" in result.output


def test_a_table_of_label_studio_has_a_source_as_its_json_has(tmp_path: Path) -> None:
    for name, prompt in (("a", "Why?"), ("b", "Who?")):
        rows = [",".join(OF_MINIMAL) + ",better", ",".join((OF_MINIMAL | {"prompt": prompt}).values()) + ",left"]
        (tmp_path / f"{name}.csv").write_text("\n".join(rows))
        assert imported(tmp_path / name, "label-studio", str(tmp_path / f"{name}.csv"))[0].exit_code == 0
    one, other = (json.loads((tmp_path / name / "mine.jsonl").read_text()) for name in "ab")
    assert one["contributor_id"] != other["contributor_id"]


@pytest.mark.parametrize(("scale", "probability"), [("-3:3", 0.0), ("3:-3", 1.0)])
def test_a_number_that_compares_is_read_on_its_scale(tmp_path: Path, scale: str, probability: float) -> None:
    (tmp_path / "a.json").write_text(json.dumps([task("number", "preference", {"number": -3})]))
    said = ("--choices", "preference", "--scale", scale)
    (event,) = imported(tmp_path / "out", "label-studio", str(tmp_path / "a.json"), *said)[1]
    assert event["probability_a"] == probability


def test_a_remark_beside_a_comparison_in_argilla_costs_nothing(tmp_path: Path) -> None:
    answers = {"preference": [{"value": "response1", "user_id": "u"}], "why": [{"value": "nice", "user_id": "u"}]}
    record = {"id": "r", "fields": {"prompt": "Why?", "response1": "So.", "response2": "Hm."}, "responses": answers}
    (tmp_path / "a.json").write_text(json.dumps([record]))
    result, events, skipped = imported(tmp_path / "out", "argilla", str(tmp_path / "a.json"))
    assert (result.exit_code, len(events), skipped) == (0, 1, [])
    assert "1 answers to 'why' were left out" in result.output


def test_a_mapping_that_does_not_fit_says_what_to_copy(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",".join(WORKED) + ",Answer.best\n" + ",".join(WORKED.values()) + ",left\n")
    result = CliRunner().invoke(app, ["auto", str(tmp_path / "a.csv")])
    assert result.exit_code == 2
    assert "mturk.toml and say --mapping COPY" in result.output


@pytest.mark.parametrize("label", ["maybe", "2"])
def test_an_own_label_goes_before_numbers_and_beside_a_mapping_s_values(tmp_path: Path, label: str) -> None:
    (tmp_path / "a.csv").write_text(",".join(WORKED) + ",Answer.choice\n" + ",".join(WORKED.values()) + f",{label}\n")
    (event,) = imported(
        tmp_path / "1", "table", str(tmp_path / "a.csv"), "--mapping", "mturk", "--label", f"{label}=B"
    )[1]
    assert event["probability_a"] == 0
    row = {
        "judge": "j",
        "conversation_a": SAYS,
        "conversation_b": [SAYS[0], {**SAYS[1], "content": "Hm."}],
        "winner": label,
    }
    (tmp_path / "b.json").write_text(json.dumps([row]))
    (event,) = imported(
        tmp_path / "2", "table", str(tmp_path / "b.json"), "--mapping", "arena", "--label", f"{label}=both-bad"
    )[1]
    assert event["both_bad"]


@pytest.mark.parametrize("said", ["First I think.", ["First"]])
def test_what_a_message_says_beside_its_text_is_not_dropped_in_silence(said: object) -> None:
    with pytest.raises(RowError, match="reasoning_content"):
        refuse_unusable({"role": "assistant", "content": "Four.", "reasoning_content": said}, "message")
    refuse_unusable({"role": "assistant", "content": "Four.", "reasoning_content": ""}, "message")
