"""A million mixed events from files to validated and quarantined frames, on two cores.

Goal: at most 60 s and 4 GiB, in memory that does not grow with the files. Ours is what a round does: the inbox takes the
files in (every line checked, ids hashed, duplicates left out, segments written), the gate holds the events against every
expectation, Great Expectations reports, valid and rejected events are written. Peers do less: they get no broken line,
know no duplicates across files, and hold everything in memory.

* *Great Expectations alone*: pandas reads the files, computes what an expectation needs of other rows, and the same
  expectations run on the columns themselves with complete results, which is how the failing rows are found.
* *Polars alone*: the same conditions on the files as one frame, without reasons a line, report or warehouse.

Each runs in a process of its own; peak memory is that process's, Python and its libraries included. ``growth_gib`` is what
ours took more than for a quarter of the events.

Belongs here: throughput and memory. Does not belong here: what is found (see ``tests/unit/quality/test_gate.py``).
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import CPU, WALL, finish, say
from benchmarks.weights import peak_mib

EVENTS, QUICK_EVENTS = 1_000_000, 4_000
LINES_PER_FILE = 100_000
CORES = 2
BROKEN = 0.005  # share of lines that are no event
FAILING = 0.01  # share of events, of each kind, that an expectation of other rows rejects
SHARES = {"demonstration": 0.35, "preference": 0.45, "outcome": 0.08, "bid": 0.12}
NOW = datetime(2026, 3, 1, tzinfo=UTC)
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "you",
    "that",
    "it",
    "he",
    "was",
    "for",
    "on",
    "are",
    "as",
    "with",
    "his",
    "they",
    "at",
    "be",
    "this",
    "have",
    "from",
    "or",
    "one",
    "had",
    "by",
    "word",
    "but",
    "not",
    "what",
    "all",
    "were",
    "we",
    "when",
    "your",
    "can",
    "said",
    "there",
    "use",
    "an",
    "each",
    "which",
    "she",
    "do",
    "how",
    "their",
    "if",
    "will",
    "up",
    "other",
    "about",
    "out",
    "many",
    "then",
    "them",
    "these",
]


def texts(rng: np.random.Generator, number: int, words: int) -> list[str]:
    """Texts of about ``words`` words, all different."""
    lengths = rng.integers(words // 2, words * 3 // 2, number)
    chosen = rng.integers(0, len(WORDS), int(lengths.sum()))
    ends = np.cumsum(lengths)
    return [
        " ".join([WORDS[word] for word in chosen[end - length : end]]) + f" {place}"
        for place, (end, length) in enumerate(zip(ends, lengths, strict=True))
    ]


def records(rng: np.random.Generator, number: int) -> Iterator[dict[str, Any]]:
    """``number`` events of all kinds in random order; an outcome comes after the first report on its comparison."""
    kinds = rng.choice(list(SHARES), number, p=list(SHARES.values()))
    prompts, answers, others = texts(rng, number, 15), texts(rng, number, 45), texts(rng, number, 30)
    share, failing = np.round(rng.random(number), 4).tolist(), (rng.random(number) < FAILING).tolist()
    labeler, person = rng.integers(0, 2_000, number).tolist(), rng.integers(0, 20_000, number).tolist()
    comparisons: list[dict[str, str]] = []
    judged: set[tuple[int, int]] = set()
    realised = 0
    for place, kind in enumerate(kinds):
        bad = failing[place]
        common = {"kind": kind, "submitted_at": (NOW - timedelta(seconds=number - place)).isoformat()}
        if kind == "outcome":
            if realised == len(comparisons):
                continue
            name = "nobody-judged" if bad else comparisons[realised]["comparison_id"]
            realised += not bad
            yield common | {"comparison_id": name, "preferred_a": round(share[place])}
        elif kind == "preference":
            if len(comparisons) < 5 or place % 5 == 0:
                one, other = others[place], others[place - 1]
                comparisons.append(
                    {"comparison_id": f"k{place}", "prompt": prompts[place], "response_a": one, "response_b": other}
                )
            at = len(comparisons) - 1 - place % min(len(comparisons), 1_000)
            if (labeler[place], at) in judged:
                continue
            judged.add((labeler[place], at))
            shown = comparisons[at] | ({"response_b": "another"} if bad else {})
            yield common | shown | {"contributor_id": f"labeler{labeler[place]}", "probability_a": share[place]}
        else:
            who = {"contributor_id": f"{kind}{person[place]}", "prompt": prompts[place], "response": answers[place]}
            if kind == "bid":
                who |= {"lot_id": f"lot{place}", "asked_price": f"{share[place]}", "claimed_quality": share[place]}
            yield common | who | {"response": who["prompt"] if bad else who["response"]}


def write_files(folder: Path, number: int, seed: int) -> int:
    """Feedback files of ``number`` events, or a few less, into ``folder``; returns how many."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    written, part = 0, 0
    for start in range(0, number, LINES_PER_FILE):
        found = list(records(rng, min(LINES_PER_FILE, number - start)))
        for record in found:  # each file is of other people's comparisons
            for name in ("comparison_id", "lot_id"):
                if name in record and record[name] != "nobody-judged":
                    record[name] = f"{part}-{record[name]}"
        (folder / f"events-{part:04d}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in found))
        written, part = written + len(found), part + 1
    return written


def write_broken(folder: Path, number: int) -> None:
    """Lines that are no event, for those who can read them."""
    lines = ('{"kind": "demonstration", "contributor_id":', '{"kind": "opinion"}', "not JSON at all")
    (folder / "broken.jsonl").write_text(
        "".join(lines[each % 3] + f" {each}\n" for each in range(int(number * BROKEN)))
    )


def ours(folder: Path) -> dict[str, Any]:
    """What a round does with the files of an inbox, from its ingestion to its validated frame."""
    from functools import partial

    import polars as pl

    from crowd_assets.quality.gate import check_feedback
    from resources.build import build_resources
    from resources.feedback.events import EVENT_SCHEMA
    from resources.rounds.book import Round
    from resources.settings.resource import CrowdSettings

    settings = CrowdSettings(home=str(folder))
    resources = build_resources(settings)
    inbox, warehouse = resources.inbox, resources.warehouse
    started, started_cpu = WALL(), CPU()
    files = inbox.ingest(say)
    ingested, ingested_cpu = WALL() - started, CPU() - started_cpu
    accepted = sum(file.accepted for file in files)
    round_ = Round(1, "r000001", 1, accepted, "claimed", 1, None, 1, None, None, NOW)
    gate = check_feedback(round_, partial(inbox.chunks, 1, accepted), resources.data_quality, settings)
    schema = {"seq": pl.Int64(), **EVENT_SCHEMA}
    resources.frames.write_chunks("validated_feedback", round_.round_id, gate.valid(), schema)
    with warehouse.transaction() as connection:
        warehouse.append(connection, "rejected_feedback", gate.rejected)
    return {
        "events": gate.events,
        "valid": gate.accepted,
        "rejected": gate.rejected.height,
        "broken": sum(file.rejected for file in files),
        "seconds_ingestion": ingested,
        "cpu_seconds_ingestion": ingested_cpu,
    }


def polars_alone(folder: Path) -> dict[str, Any]:
    """The same conditions on all files as one frame."""
    import polars as pl

    from crowd_assets.quality import conditions
    from crowd_assets.quality.history import Earlier, first_reports, known
    from resources.feedback.events import EVENT_SCHEMA, KINDS

    schema = {**EVENT_SCHEMA, "submitted_at": pl.String()}
    events = (
        pl.scan_ndjson(sorted(folder.glob("inbox/events-*.jsonl")), schema=schema)
        .with_columns(
            pl.col("submitted_at").str.to_datetime("%+", time_unit="us", time_zone="UTC"),
            pl.col("contributor_id").fill_null(""),
            pl.col("messages").fill_null(""),
            asked_price=pl.col("asked_price").cast(pl.Decimal(18, 6)).cast(pl.String),
            event_id=pl.struct(*schema).hash().cast(pl.String),
        )
        .unique("event_id", keep="first", maintain_order=True)
        .with_row_index("seq")
        .with_columns(pl.col("seq").cast(pl.Int64))
        .collect()
    )
    facts = {kind: conditions.facts(kind, events.filter(pl.col("kind") == kind), NOW, None) for kind in KINDS}
    nothing = known(Earlier(), facts, NOW)
    reports, failing = first_reports(nothing.keys["preference"]), []
    for kind in KINDS:
        met = conditions.judged(kind, facts[kind], nothing.keys[kind], nothing.published, reports)
        critical = [each.name for each in conditions.CONDITIONS[kind] if each.severity == "critical"]
        failing.append(met.filter(~pl.all_horizontal(critical)).select("seq"))
        if kind == "preference":
            reports = first_reports(facts[kind].join(failing[-1], on="seq", how="anti"))
    rejected = pl.concat(failing)
    events.join(rejected, on="seq", how="anti", maintain_order="left").write_parquet(folder / "valid.parquet")
    events.join(rejected, on="seq", how="semi").write_parquet(folder / "rejected.parquet")
    return {"events": events.height, "valid": events.height - rejected.height, "rejected": rejected.height}


def great_expectations_alone(folder: Path) -> dict[str, Any]:
    """The same expectations on pandas frames, and the failing rows from the complete results."""
    import great_expectations as gx
    import pandas as pd

    from resources.feedback.events import FIELDS, KINDS

    files = sorted(folder.glob("inbox/events-*.jsonl"))
    columns = {"asked_price": str, "comparison_id": str, "lot_id": str, "contributor_id": str}
    events = pd.concat([pd.read_json(file, lines=True, dtype=columns) for file in files], ignore_index=True)
    if "messages" not in events:  # optional, and no event of the benchmark has one
        events["messages"] = ""
    events["submitted_at"] = pd.to_datetime(events["submitted_at"], utc=True).dt.tz_localize(None)
    events["event_id"] = events.index.astype(str)
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("feedback")
    rejected: set[str] = set()
    known: Any = ()
    for kind in KINDS:
        frame = _with_columns(events[events["kind"] == kind].copy(), kind, known)
        suite = context.suites.add(gx.ExpectationSuite(name=kind, expectations=_native(kind, FIELDS[kind])))
        batch = source.add_dataframe_asset(name=kind).add_batch_definition_whole_dataframe("all")
        found = batch.get_batch(batch_parameters={"dataframe": frame}).validate(
            suite, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["event_id"]}
        )
        failing = {
            row["event_id"]
            for each in found.results
            if str(getattr(each.expectation_config.severity, "value", "")) == "critical"
            for row in each.result.get("unexpected_index_list") or ()
        }
        rejected |= failing
        if kind == "preference":
            known = frame.loc[~frame["event_id"].isin(failing), "comparison_id"].unique()
    bad = events["event_id"].isin(rejected)
    events[~bad].to_parquet(folder / "valid.parquet")
    events[bad].to_parquet(folder / "rejected.parquet")
    return {"events": len(events), "valid": int((~bad).sum()), "rejected": int(bad.sum())}


def _with_columns(frame: Any, kind: str, known: Any) -> Any:
    """What an expectation needs of other rows, by pandas."""
    from crowd_assets.quality.conditions import ANSWERED_ONCE, SEEN

    if "contributor_id" not in frame or kind == "outcome":
        frame["contributor_id"] = ""
    for name in ANSWERED_ONCE[kind]:
        if name not in frame:  # an optional field that no event of this kind has
            frame[name] = ""
    frame["again"] = frame.duplicated(list(ANSWERED_ONCE[kind]))
    one, other = ("response_a", "response_b") if kind == "preference" else ("prompt", "response")
    if kind != "outcome":
        frame["differ"] = frame[one].str.strip() != frame[other].str.strip()
    if kind in SEEN:
        group = frame.groupby("comparison_id" if kind == "preference" else "lot_id")
        same = [frame[name] == group[name].transform("first") for name in SEEN[kind]]
        frame["match"] = np.logical_and.reduce(same)
    if kind == "outcome":
        frame["known"] = frame["comparison_id"].isin(known)
        frame["agree"] = frame["preferred_a"] == frame.groupby("comparison_id")["preferred_a"].transform("first")
    if kind == "demonstration":
        alone = frame.groupby("contributor_id")["event_id"].transform("size")
        copies = frame.groupby(["contributor_id", "response"])["event_id"].transform("size")
        frame["copies"] = np.where(alone >= 5, copies / alone, 0.0)
    return frame


def _native(kind: str, fields: tuple[str, ...]) -> list[Any]:
    """The expectations of ``crowd_assets.quality.conditions`` as Great Expectations has them."""
    import great_expectations.expectations as gxe
    from great_expectations.expectations.metadata_types import FailureSeverity

    from crowd_assets.quality.conditions import FIRST_INSTANT
    from resources.feedback.events import IDENTIFIER, IDENTIFIERS

    earliest, latest = FIRST_INSTANT.replace(tzinfo=None), NOW.replace(tzinfo=None)
    identifiers = [name for name in ("event_id", *fields) if name in IDENTIFIERS]
    true = {"demonstration": ["differ"], "preference": ["differ", "match"], "outcome": ["known", "agree"]}
    shares = {"preference": "probability_a", "outcome": "preferred_a", "bid": "claimed_quality"}
    found = [
        *(gxe.ExpectColumnValuesToNotBeNull(column=name) for name in fields),
        *(gxe.ExpectColumnValuesToMatchRegex(column=name, regex=f"^{IDENTIFIER.pattern}$") for name in identifiers),
        gxe.ExpectColumnValuesToBeBetween(column="submitted_at", max_value=latest),
        gxe.ExpectColumnValuesToBeBetween(column="submitted_at", min_value=earliest),
        gxe.ExpectColumnValuesToBeUnique(column="event_id"),
        gxe.ExpectColumnValuesToBeInSet(column="again", value_set=[False]),
        *(
            gxe.ExpectColumnValuesToBeInSet(column=name, value_set=[True])
            for name in true.get(kind, ["differ", "match"])
        ),
    ]
    if kind in shares:
        found.append(gxe.ExpectColumnValuesToBeBetween(column=shares[kind], min_value=0, max_value=1))
    if kind == "bid":
        found.append(gxe.ExpectColumnValuesToMatchRegex(column="asked_price", regex=r"^\d+(\.\d{1,6})?$"))
    if kind == "demonstration":
        few = gxe.ExpectColumnValuesToBeBetween(column="copies", max_value=0.2, severity=FailureSeverity.WARNING)
        found.append(few)
    return found


WAYS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "ours": ours,
    "polars_alone": polars_alone,
    "great_expectations_alone": great_expectations_alone,
}

# Imported before the clock starts.
NEEDS = {
    "ours": ("crowd_assets.definitions", "crowd_assets.quality.gate", "great_expectations.expectations"),
    "polars_alone": ("crowd_assets.quality.gate",),
    "great_expectations_alone": ("great_expectations.expectations", "pandas", "crowd_assets.quality.gate"),
}


def measured(way: str, number: int, seed: int) -> dict[str, Any]:
    """Run one way on files of its own, in a process of its own on two cores."""
    with tempfile.TemporaryDirectory() as folder:
        events = write_files(Path(folder, "inbox"), number, seed)
        if way == "ours":
            write_broken(Path(folder, "inbox"), number)
        say(f"{way}: {events:,} events")
        environment = os.environ | {"POLARS_MAX_THREADS": str(CORES), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.quality", "--way", way, "--folder", folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    say(f"{way}: {found['seconds']:.1f} s, {found['peak_gib']:.2f} GiB, {found['rejected']:,} rejected")
    return found


def run_one(way: str, folder: Path) -> None:
    """One way on the files of ``folder``, in this process."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    for module in NEEDS[way]:
        importlib.import_module(module)
    wall, cpu = WALL(), CPU()
    found = WAYS[way](folder)
    times = {"seconds": WALL() - wall, "cpu_seconds": CPU() - cpu, "peak_gib": peak_mib() / 1024}
    print(json.dumps(found | times))


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark and print its JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small case under the same names, in seconds")
    parser.add_argument("--events", type=int, default=EVENTS, help="events (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is drawn (default: %(default)s)")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.way:
        run_one(given.way, given.folder)
        return
    number = QUICK_EVENTS if given.quick else given.events
    found = {way: measured(way, number, given.seed) for way in WAYS}
    quarter = measured("ours", number // 4, given.seed)
    finish(
        {
            "seconds": found["ours"]["seconds"],
            "peak_gib": found["ours"]["peak_gib"],
            "growth_gib": found["ours"]["peak_gib"] - quarter["peak_gib"],
            "seconds_great_expectations_alone": found["great_expectations_alone"]["seconds"],
            "seconds_polars_alone": found["polars_alone"]["seconds"],
            "events": found["ours"]["events"],
        },
        {**found, "a_quarter_of_the_events": quarter, "cores": CORES, "seed": given.seed},
        "great_expectations",
        "pandas",
        "polars",
    )


if __name__ == "__main__":
    main()
