"""A contributor's texts are erased wherever they lie, whatever interrupts it; everything that is not text stays."""

import json
import shutil
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from markupsafe import escape
from typer.testing import CliRunner

from crowd_assets.__main__ import app
from crowd_assets.operations import erasure
from crowd_assets.operations.erasure import Erasure, ErasureError, erase
from resources.build import build_resources
from resources.common.hashes import file_hash
from resources.feedback.events import ERASED
from resources.feedback.inbox import InboxResource
from resources.feedback.pseudonyms import HomePseudonyms
from resources.rounds.book import ErasedRoundError, Quorum, RoundBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.duckdb import DuckDBWarehouse
from sensors.rounds import nightly_quorum

SECRET, SOLD, SHARED = "My cat is called Zebulon.", 'A "secret" of Zebulon & me.', "Thank you very much."
OTHER_TEXTS = {"prompt": "Why?", "response_a": "x", "response_b": "y"}
REASON = "letter of 3 May"


def demonstration(who: str, response: str, **other: object) -> dict[str, Any]:
    return event("demonstration", who, **{"prompt": "How are you?", "response": response, **other})


def event(kind: str, who: str, **fields: object) -> dict[str, Any]:
    return {"kind": kind, "contributor_id": who, "submitted_at": "2026-01-01T00:00:00Z", **fields}


def judgement(who: str, comparison_id: str = "r000001-1") -> dict[str, Any]:
    sold = comparison_id == "r000001-1"
    texts = {"prompt": "How?", "response_a": SOLD, "response_b": "Fine."} if sold else OTHER_TEXTS
    return event("preference", who, comparison_id=comparison_id, **texts, probability_a=0.7, comment=f"said {who}")


class Home:
    """Two settled rounds, made by hand: ann and bo wrote, ann sold an answer that cy judged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = CrowdSettings(home=str(folder), min_demonstrations=1, quorum_contributors=1)
        self.resources = build_resources(self.settings)
        self.warehouse: WarehouseResource = self.resources.warehouse
        self.inbox: InboxResource = self.resources.inbox
        self.book = RoundBook(self.warehouse)

    @classmethod
    def made(cls, folder: Path) -> "Home":
        self = cls(folder)
        Path(self.inbox.root).mkdir()
        bid = event("bid", "ann", lot_id="l1", prompt="How?", response=SOLD, asked_price="0.1", claimed_quality=1)
        broken = json.dumps(demonstration("ann", SECRET))[:-2]
        first = [
            demonstration("ann", SECRET, note="my diary"),
            demonstration("ann", SHARED),
            demonstration("bo", SHARED),
        ]
        self.send("one.jsonl", *first, demonstration("bo", "I am Bo."), bid, broken)
        self.settle(1, {"candidates": ["m1", "m2"]})
        events = {row["response"]: row["event_id"] for row in self.inbox.events(1, 9).iter_rows(named=True)}
        tasks = [{"comparison_id": "r000001-1", "prompt": "How?", "response_a": SOLD, "response_b": "Fine."}]
        others = [{"comparison_id": "r000001-2", "prompt": "Why?", "response_a": "x", "response_b": "y"}]
        rows = pl.DataFrame(
            {
                "comparison_id": ["r000001-1", "r000001-2"],
                "lot_id": ["l1", "l2"],
                "event_id_a": [events[SOLD], "e9"],
                "event_id_b": ["e7", "e8"],
            }
        )
        with self.warehouse.transaction() as connection:
            self.warehouse.append(connection, "comparison_tasks", rows.with_columns(round_no=pl.lit(1)))
        self.resources.outbox.publish("comparison_tasks", "r000001", tasks + others)
        self.send("two.jsonl", judgement("cy"), judgement("ann", "other"), demonstration("bo", "Bo again."))
        self.settle(2, {"candidates": ["m3", "m4"]})
        aggregated = pl.DataFrame([task | {"probability_a": 0.7} for task in tasks])
        self.resources.frames.write("aggregated_preferences", "r000002", aggregated)
        self.resources.frames.write("generations", "r000002", pl.DataFrame({"prompt": ["How?"], "base": [SECRET]}))
        page = folder / "reports" / "rounds" / "r000001.html"
        page.parent.mkdir(parents=True)
        written = f"<td>A &quot;secret&quot; of Zebulon &amp; me.</td><td>{escape(SOLD)}</td><td>I am Bo.</td>"
        page.write_text(written)
        docs = folder / "quality" / "gx"
        docs.mkdir(parents=True)
        (docs / "run.json").write_text(json.dumps({"unexpected": [SOLD, "I am Bo."]}))
        return self

    def send(self, name: str, *lines: object) -> None:
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        Path(self.inbox.root, name).write_text(text)
        self.inbox.ingest()

    def settle(self, number: int, models: dict[str, list[str]]) -> None:
        round_, reason = self.book.claim(nightly_quorum(self.settings), self.settings, datetime.now(UTC))
        assert round_ is not None, reason
        self.resources.frames.write(
            "validated_feedback", round_.round_id, self.inbox.events(round_.from_seq, round_.to_seq)
        )
        groups = pl.DataFrame({"contributor_id": ["ann", "bo"], "group_index": [0, 1], "demonstrations": [2, 2]})
        if number == 2:
            groups = groups.filter(pl.col("contributor_id") == "bo")
        self.warehouse.replace_round("contributor_groups", number, groups)
        candidates = pl.DataFrame({"group_index": [0, 1], "model": models["candidates"]})
        self.warehouse.replace_round("candidates", number, candidates)
        alignments = pl.DataFrame({"model": [f"aligned{number}"]})
        self.warehouse.replace_round("alignments", number, alignments)
        paid = {"contributor:ann": Decimal("0.1"), "treasury": Decimal("-0.1")}
        entries = pl.DataFrame(
            [
                {
                    "entry_id": f"{number}-{account}",
                    "round_id": round_.round_id,
                    "account": account,
                    "unit": "credit",
                    "amount": amount,
                    "reason": "payment",
                    "reference": "l1",
                }
                for account, amount in paid.items()
            ]
        )
        self.book.settle(round_, entries, base_model="root", next_model="m1", now=datetime.now(UTC), about={})
        self.book.complete(number)

    def erase(self, who: str = "ann") -> Erasure:
        return erase(who, REASON, self.settings, self.resources)

    def holding(self, *texts: str) -> set[str]:
        """Files and tables with one of the texts, however they are packed."""
        found = set()
        for path in (each for each in self.folder.rglob("*") if each.is_file()):
            data = path.read_bytes()
            if path.suffix == ".parquet":
                data += json.dumps(pl.read_parquet(path).rows(), default=str, ensure_ascii=False).encode()
            if any(text.encode() in data or json.dumps(text)[1:-1].encode() in data for text in texts):
                found.add(path.relative_to(self.folder).parts[0])
        with duckdb.connect(str(self.folder / "warehouse.duckdb")) as connection:
            for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
                if any(text in str(connection.execute(f"FROM {table}").fetchall()) for text in texts):
                    found.add(table)
        return found

    def figures(self) -> list[Any]:
        tables = ("ledger", "rounds", "contributor_groups", "candidates", "comparison_tasks", "event_index")
        return [self.warehouse.query(f"SELECT * FROM {table} ORDER BY ALL").rows() for table in tables]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Home.made(tmp_path_factory.mktemp("made")).folder


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Home:
    return Home(Path(shutil.copytree(made, tmp_path / "home")))


def test_no_file_and_no_table_holds_a_text_and_everything_else_stays(home: Home) -> None:
    before = home.figures()
    assert home.holding("Zebulon") >= {"archive", "frames", "outbox", "quality", "reports", "rejected_feedback"}
    assert home.holding("my diary", "said ann") == {"archive", "frames"}
    found = home.erase()
    assert home.holding("Zebulon", "my diary", "said ann") == set()
    assert home.figures() == before
    assert home.holding("I am Bo.") == {"archive", "frames", "quality", "reports"}
    assert home.holding("said cy") == {"archive", "frames"}
    rows = home.resources.frames.read("validated_feedback", "r000001")
    shared = rows.filter(pl.col("response") == SHARED)
    assert shared["contributor_id"].to_list() == ["bo"]
    assert rows.filter(pl.col("contributor_id") == "ann")["response"].to_list() == [ERASED] * 3
    judged = home.resources.frames.read("validated_feedback", "r000002").filter(pl.col("kind") == "preference")
    assert judged.filter(pl.col("contributor_id") == "cy").select(
        "response_a", "response_b", "probability_a"
    ).rows() == [(ERASED, "Fine.", 0.7)]
    assert [task["comparison_id"] for task in home.resources.outbox.published("comparison_tasks")] == ["r000001-2"]
    assert found.withdrawn == ("r000001-1",)
    assert found.trained_on == ("aligned2", "m1")
    assert home.warehouse.query("SELECT sum(amount) FROM ledger GROUP BY unit").item() == 0
    with pytest.raises(ErasedRoundError, match="e000001"):
        home.book.reopen("r000001")


def test_a_text_goes_from_the_conversations_that_quote_it_and_so_does_a_conversation_of_one_s_own(home: Home) -> None:
    def spoken(text: str) -> list[dict[str, str]]:
        turns = (("user", "Hi."), ("assistant", text), ("user", "How are you?"))
        return [{"role": role, "content": content} for role, content in turns]

    home.send(
        "three.jsonl",
        demonstration("bo", "Quoting.", messages=spoken(SECRET)),
        demonstration("ann", "Mine.", messages=spoken("The name is Zebulon.")),
        demonstration("bo", "Bo's own.", messages=spoken("Nothing of hers.")),
    )
    home.settle(3, {"candidates": ["m5", "m6"]})
    home.erase()
    assert home.holding("Zebulon") == set()
    assert "frames" in home.holding("Nothing of hers.")
    last = home.book.rounds_through(3)[-1]
    rows = home.resources.frames.read("validated_feedback", last)
    assert [json.loads(text)[1]["content"] for text in rows.filter(contributor_id="bo")["messages"]] == [
        ERASED,
        "Nothing of hers.",
    ]


def test_a_word_of_a_page_s_own_scripts_stays_in_them(home: Home) -> None:
    home.send("three.jsonl", demonstration("ann", "constructor"), demonstration("bo", "Nothing new."))
    home.settle(3, {"candidates": ["m5", "m6"]})
    page = home.folder / "reports" / "rounds" / "r000003.html"
    page.write_text("<td>constructor</td><script>constructor</script><td>constructor</td>")
    home.erase()
    assert page.read_text() == f"<td>{ERASED}</td><script>constructor</script><td>{ERASED}</td>"


def test_a_text_whose_personal_data_was_masked_goes_as_well(home: Home) -> None:
    written, kept = "Write to zebulon.cat@gmail.com about it.", "Write to [e-mail] about it."
    home.send("three.jsonl", demonstration("ann", written), demonstration("bo", "Nothing new."))
    home.settle(3, {"candidates": ["m5", "m6"]})
    home.resources.frames.write("generations", "r000003", pl.DataFrame({"prompt": ["How?"], "base": [kept]}))
    home.erase()
    assert home.holding(written, kept) == set()
    assert "frames" in home.holding("Nothing new.")


def test_who_wrote_a_name_or_a_kind_has_no_names_and_kinds_erased(home: Home) -> None:
    home.send("three.jsonl", demonstration("ann", "bo"), demonstration("ann", "bid"), demonstration("ann", "l1"))
    ids = ["seq", "event_id", "kind", "contributor_id", "lot_id"]
    segments = sorted((home.folder / "frames" / "raw_feedback").glob("*.parquet"))
    before = [pl.read_parquet(path).select(ids) for path in segments]
    home.erase()
    assert all(pl.read_parquet(path).select(ids).equals(old) for path, old in zip(segments, before, strict=True))
    archived = "".join(path.read_text() for path in sorted((home.folder / "archive").glob("*.jsonl")))
    assert archived.count('"contributor_id": "bo"') == 3
    assert archived.count('"kind": "bid"') == 1


def test_the_record_says_what_was_done(home: Home) -> None:
    found = home.erase()
    record = home.warehouse.query("FROM erasures").row(0, named=True)
    assert (record["erasure_id"], record["contributor_id"], record["reason"]) == ("e000001", "ann", REASON)
    assert (record["status"], record["events"], record["rejections"]) == ("done", 4, 1)
    assert record["trained_on"] == list(found.trained_on)
    assert record["begun_at"] <= record["done_at"]
    files = home.warehouse.query("FROM erased_files")
    assert files.height == found.files > 0
    for row in files.iter_rows(named=True):
        assert file_hash(Path(row["uri"]).read_bytes()) == row["digest_after"]
        assert row["digest_before"] != row["digest_after"]
    reader = duckdb.connect(str(home.warehouse.snapshot_path), read_only=True)
    assert reader.execute("SELECT status FROM erasures").fetchall() == [("done",)]
    reader.close()


def test_a_second_time_there_is_nothing_to_do(home: Home) -> None:
    home.erase()
    before = {path: path.read_bytes() for path in home.folder.rglob("*.parquet")}
    assert home.erase().erasure_id == ""
    assert {path: path.read_bytes() for path in home.folder.rglob("*.parquet")} == before
    assert home.warehouse.query("FROM erasures").height == 1
    home.send("three.jsonl", demonstration("ann", "Zebulon is well."))
    assert home.erase().erasure_id == "e000002"
    assert home.holding("Zebulon") == set()


@pytest.mark.parametrize("number", [0, 5])
def test_interrupted_anywhere_the_same_command_finishes(
    home: Home, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    calls = 0
    write = erasure.write_bytes_atomically

    def dying(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > number:
            raise KeyboardInterrupt
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(erasure, "write_bytes_atomically", dying)
        patch.setattr(DuckDBWarehouse, "compact", lambda self: dying())
        with pytest.raises((KeyboardInterrupt, TypeError)):
            home.erase()
    claimed, reason = home.book.claim(
        Quorum(1, 1, nightly_quorum(home.settings).longest_wait), home.settings, datetime.now(UTC)
    )
    assert claimed is None
    assert "being erased" in reason
    with pytest.raises(ErasureError, match="repeat that erasure first"):
        home.erase("bo")
    assert home.erase().erasure_id == "e000001"
    assert home.holding("Zebulon", "my diary", "said ann") == set()
    assert home.warehouse.query("SELECT status FROM erasures")["status"].to_list() == ["done"]


def test_what_is_erased_is_in_no_later_round_and_does_not_come_back(home: Home) -> None:
    home.send("three.jsonl", demonstration("ann", "Zebulon again."), demonstration("bo", "Bo, too."))
    home.erase()
    assert home.inbox.events(1, 99).filter(pl.col("contributor_id") == "ann")["kind"].to_list() == ["preference"]
    outcome = {
        "kind": "outcome",
        "comparison_id": "r000001-1",
        "preferred_a": 1,
        "submitted_at": "2026-01-02T00:00:00Z",
    }
    home.send("four.jsonl", judgement("dee"), judgement("dee", "r000001-2"), outcome)
    assert home.inbox.events(1, 99).filter(pl.col("kind") == "outcome").height == 1
    late = home.inbox.events(1, 99).filter(pl.col("contributor_id") == "dee")
    assert late["comparison_id"].to_list() == ["r000001-2"]
    refused = home.warehouse.query("SELECT reason, excerpt FROM rejected_feedback WHERE contributor_id = 'dee'").rows()
    assert refused == [("the comparison is withdrawn: a contributor's texts were erased", "")]


def test_an_open_round_comes_first(home: Home) -> None:
    home.send("three.jsonl", demonstration("bo", "Once more."))
    claimed, _ = home.book.claim(nightly_quorum(home.settings), home.settings, datetime.now(UTC))
    assert claimed is not None
    with pytest.raises(ErasureError, match="let the round finish"):
        home.erase()
    assert "frames" in home.holding("Zebulon")
    assert home.warehouse.query("FROM erasures").is_empty()


def test_nobody_of_that_name(home: Home) -> None:
    with pytest.raises(ErasureError, match="zoe is no contributor"):
        home.erase("zoe")


def test_with_a_key_name_and_pseudonym_are_the_same_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", "a key that is long enough")
    monkeypatch.setenv("CROWD_HOME", str(tmp_path))
    inbox: InboxResource = build_resources(CrowdSettings(home=str(tmp_path))).inbox
    Path(inbox.root).mkdir()
    for number, text in enumerate(("Zebulon one.", "Zebulon two.")):
        Path(inbox.root, f"{number}.jsonl").write_text(json.dumps(demonstration("ann", text)))
    inbox.ingest()
    pseudonym = HomePseudonyms.of_home(inbox.warehouse).of("ann")
    shown = CliRunner().invoke(app, ["pseudonym", "ann", "zoe"])
    assert shown.output == f"{pseudonym}  ann\nhas sent nothing  zoe\n"
    done = CliRunner().invoke(app, ["erase", "ann", "--reason", REASON])
    assert done.output.startswith(f"e000001: 2 events of {pseudonym}, 2 files rewritten")
    again = CliRunner().invoke(app, ["erase", pseudonym, "--reason", REASON])
    assert again.output == f"{pseudonym}: no text is left in the home to erase\n"
    gone = CliRunner().invoke(app, ["erase", "ann", "--reason", REASON, "--identifier"])
    assert f"{pseudonym}: nobody can tell any more whose pseudonym this was; the pseudonym holds nothing" in gone.output
    assert CliRunner().invoke(app, ["pseudonym", "ann"]).output == "has sent nothing  ann\n"
    assert "no contributor" in str(CliRunner().invoke(app, ["erase", "ann", "--reason", REASON]).exception)
    Path(inbox.root, "9.jsonl").write_text(json.dumps(demonstration("ann", "Somebody else by now.")))
    done = CliRunner().invoke(app, ["erase", "ann", "--reason", REASON])  # before anybody took the file in
    assert "1 events of" in done.output
    first, _, third = inbox.warehouse.query("SELECT contributor_id FROM event_index ORDER BY seq")["contributor_id"]
    assert first == pseudonym != third
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", "")
    assert isinstance(CliRunner().invoke(app, ["pseudonym", "ann"]).exception, ValueError)


def test_a_name_that_the_records_vouch_for_is_not_erased_and_nothing_else_is_either(home: Home) -> None:
    with pytest.raises(ErasureError, match="begun with CROWD_PSEUDONYM_KEY can erase names"):
        erase("ann", REASON, home.settings, home.resources, identifier=True)
    assert "frames" in home.holding("Zebulon")


def test_an_erased_identifier_leaves_ledger_and_settlements_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", "a key that is long enough")
    settings = CrowdSettings(home=str(tmp_path), min_demonstrations=1, quorum_contributors=1)
    resources = build_resources(settings)
    Path(resources.inbox.root).mkdir()
    Path(resources.inbox.root, "a.jsonl").write_text(json.dumps(demonstration("ann", "Zebulon one.")))
    resources.inbox.ingest()
    pseudonym = HomePseudonyms.of_home(resources.warehouse).of("ann")
    round_, _ = RoundBook(resources.warehouse).claim(nightly_quorum(settings), settings, datetime.now(UTC))
    assert round_ is not None
    entries = [
        {
            "entry_id": who,
            "round_id": "r000001",
            "account": who,
            "unit": "credit",
            "amount": amount,
            "reason": "payment",
            "reference": "l1",
        }
        for who, amount in ((f"contributor:{pseudonym}", Decimal(2)), ("treasury", Decimal(-2)))
    ]
    RoundBook(resources.warehouse).settle(
        round_, pl.DataFrame(entries), base_model="root", next_model="m1", now=datetime.now(UTC), about={}
    )
    RoundBook(resources.warehouse).complete(1)
    before = (
        resources.warehouse.query("SELECT * FROM ledger ORDER BY ALL"),
        resources.warehouse.query("FROM round_records"),
    )
    found = erase("ann", REASON, settings, resources, identifier=True)
    after = (
        resources.warehouse.query("SELECT * FROM ledger ORDER BY ALL"),
        resources.warehouse.query("FROM round_records"),
    )
    assert all(one.equals(other) for one, other in zip(before, after, strict=True))
    assert found.unlinked == "the pseudonym holds 2 credits"
    slot = HomePseudonyms.of_home(resources.warehouse)._slot("ann")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and slot.encode() in path.read_bytes()]


def test_prompts_that_became_lots_go_and_what_a_bid_repeats_of_a_lot_stays(home: Home) -> None:
    with home.warehouse.transaction() as connection:
        for lot, prompt in (("l1", "How?"), ("lot-3-0", "How are you?"), ("lot-3-1", "A prompt of ours.")):
            connection.execute("INSERT INTO published_lots VALUES (3, $lot, $prompt)", {"lot": lot, "prompt": prompt})
    home.send("three.jsonl", demonstration("ann", "Zebulon asks.", prompt="Where is Zebulon?"))
    home.send(
        "four.jsonl",
        event(
            "bid",
            "ann",
            lot_id="lot-3-1",
            prompt="A prompt of ours.",
            response="Z.",
            asked_price="0.1",
            claimed_quality=1,
        ),
    )
    with home.warehouse.transaction() as connection:
        connection.execute("INSERT INTO published_lots VALUES (4, 'lot-4-0', 'Where is Zebulon?')")
    lots = home.warehouse.query("SELECT lot_id, prompt FROM published_lots ORDER BY ALL").to_dicts()
    path = home.resources.outbox.publish("lots", "r000004", lots)
    home.erase()
    assert home.holding("Where is Zebulon?") == set()
    kept = {row["lot_id"]: row["prompt"] for row in home.warehouse.query("FROM published_lots").to_dicts()}
    assert kept == {"l1": "How?", "lot-3-0": "How are you?", "lot-3-1": "A prompt of ours.", "lot-4-0": ERASED}
    assert [json.loads(line)["lot_id"] for line in path.read_text().splitlines()] == ["l1", "lot-3-0", "lot-3-1"]


def test_an_archived_parquet_file_that_cannot_be_read_goes_as_a_whole(tmp_path: Path) -> None:
    home = Home.made(tmp_path)
    broken = Path(home.inbox.root, "broken.parquet")
    broken.write_bytes(b"PAR1" + SECRET.encode())
    sound = Path(home.inbox.root, "sound.parquet")
    pl.DataFrame([demonstration("ann", SECRET), demonstration("bo", "From Bo.")]).write_parquet(sound)
    home.inbox.ingest()
    home.erase()
    (archived,) = Path(home.inbox.archive).glob("*-broken.parquet")
    assert archived.read_text() == ERASED
    (rewritten,) = Path(home.inbox.archive).glob("*-sound.parquet")
    assert pl.read_parquet(rewritten)["response"].to_list() == [ERASED, "From Bo."]
