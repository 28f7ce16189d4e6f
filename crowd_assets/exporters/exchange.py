"""Comparison tasks to Label Studio, judgements back into the inbox: each task sent once, each annotation counted once.

Belongs here: what is sent and what is taken. Does not belong here: when (see ``sensors.label_studio``) and how (see
``resources.tools.label_studio``).
"""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from crowd_assets.exporters.label_studio import configuration, tasks
from crowd_assets.importers.label_studio import COMPARISON_FIELD, read_tasks
from crowd_assets.importers.records import Skipped
from resources.feedback.aliases import persons
from resources.feedback.inbox import ASSIGNMENTS, COMPARISON_TASKS, InboxResource, OutboxResource, rows_of
from resources.tools.label_studio import Filled, LabelStudioResource


@dataclass(frozen=True)
class Pulled:
    """What a look at the project brought.

    Attributes:
        events: how many events were put into the inbox.
        skipped: annotations that became none, by reason.
        until: where the next look begins.
    """

    events: int
    skipped: dict[str, int]
    until: str | None


@dataclass(frozen=True)
class Assigned:
    """What became of assignments: how many persons are asked something, and how many tasks were sent now and taken away."""

    people: int
    sent: int
    withdrawn: int


def send_tasks(label_studio: LabelStudioResource, outbox: OutboxResource, inbox: InboxResource) -> Filled:
    """Send every comparison of the outbox that the project does not have yet; delete those that are withdrawn. Where only what is assigned
    counts, nothing is sent once there are assignments, and what nobody has answered is deleted.

    Raises:
        LabelStudioError: the server cannot be reached, or refuses.
    """
    shared = label_studio.shared or not outbox.files(ASSIGNMENTS)
    published = outbox.published(COMPARISON_TASKS) if shared else []
    gone = inbox.withdrawn_comparisons()
    return label_studio.fill(tasks(published), configuration(published), COMPARISON_FIELD, gone, only=not shared)


def send_assignments(label_studio: LabelStudioResource, outbox: OutboxResource, inbox: InboxResource) -> Assigned:
    """Send everybody the assignments of the last round that are theirs, to a project of their own: who has judged here before, what is
    assigned to them; who has not, a newcomer's seat, as far as there are seats, by the order of the server's numbers. Assignments of
    earlier rounds that nobody has answered are deleted.

    Raises:
        LabelStudioError: the server cannot be reached, or refuses.
    """
    lines = [line for path in outbox.files(ASSIGNMENTS)[-1:] for line in rows_of(path)]
    own: dict[str, list[dict[str, Any]]] = {}
    seats: dict[int, list[dict[str, Any]]] = {}
    for line in lines:
        if line["contributor_id"] is not None:
            own.setdefault(line["contributor_id"], []).append(line)
        else:
            seats.setdefault(line["seat"], []).append(line)
    person, gone = persons(inbox.warehouse), inbox.withdrawn_comparisons()
    judged_before = set(inbox.warehouse.query("SELECT DISTINCT labeler_id FROM labeler_weights")["labeler_id"])
    free = iter([seats[seat] for seat in sorted(seats)])
    people = sent = withdrawn = 0
    for user in label_studio.users():
        name = person(f"label-studio-{user.number}")
        asked = own.get(name, []) if name in own or name in judged_before else next(free, [])
        filled = label_studio.of_person(user).fill(
            tasks(asked), configuration(asked), COMPARISON_FIELD, gone, only=True
        )
        people += bool(asked)
        sent, withdrawn = sent + filled.sent, withdrawn + filled.withdrawn
    return Assigned(people, sent, withdrawn)


def pull_judgements(label_studio: LabelStudioResource, inbox: InboxResource, since: str | None) -> Pulled:
    """Put annotations made since ``since`` into the inbox, as one file; what was ingested before is left out.

    An annotation that was pulled and is changed later counts as it was pulled. The file is named by its content, so a
    pull that is repeated before the ingestion replaces it.

    Args:
        since: ``until`` of an earlier pull; None: all annotations of the project.

    Raises:
        LabelStudioError: the server cannot be reached, or refuses.
    """
    annotated = label_studio.annotated(since)
    events: dict[str, dict[str, Any]] = {}
    skipped: Counter[str] = Counter()
    for record in read_tasks(annotated.tasks):
        if isinstance(record, dict):
            events[record["event_id"]] = record
        elif isinstance(record, Skipped):
            skipped[record.reason] += 1
    fresh = inbox.not_ingested(list(events))
    if fresh:
        name = hashlib.blake2b("\n".join(fresh).encode(), digest_size=8).hexdigest()
        inbox.deliver(f"label-studio-{name}", [events[event_id] for event_id in fresh])
    return Pulled(len(fresh), dict(skipped), annotated.until)


def exchange(
    label_studio: LabelStudioResource, outbox: OutboxResource, inbox: InboxResource, cursor: str | None
) -> tuple[str, str]:
    """Send what is new in the outbox, pull what is new in the project.

    Args:
        cursor: what an earlier call returned, so that little is asked for; None: everything is looked at.

    Returns:
        The next cursor, and what was done in words.

    Raises:
        LabelStudioError: the server cannot be reached, or refuses.
    """
    before = json.loads(cursor) if cursor else {}
    project = f"{label_studio.url} {label_studio.project}"
    if before.get("project") != project:
        before = {}
    sizes = [(path.name, path.stat().st_size) for path in outbox.files(COMPARISON_TASKS)]
    said = []
    if sizes and before.get("sent") != [list(each) for each in sizes]:
        filled = send_tasks(label_studio, outbox, inbox)
        said.append(f"{filled.sent} tasks sent, {filled.present} were there")
        said += [f"{filled.withdrawn} withdrawn tasks deleted"] if filled.withdrawn else []
    last = [[path.name, path.stat().st_size] for path in outbox.files(ASSIGNMENTS)[-1:]]
    # Whoever signs up later is asked something as well.
    assigned_to = [*last, [user.number for user in label_studio.users()]] if last else []
    if last and before.get("assigned") != assigned_to:
        assigned = send_assignments(label_studio, outbox, inbox)
        said.append(f"{assigned.sent} assignments sent to {assigned.people} people")
        said += [f"{assigned.withdrawn} assignments taken back"] if assigned.withdrawn else []
    pulled = pull_judgements(label_studio, inbox, before.get("until"))
    said.append(f"{pulled.events} judgements pulled")
    said += [f"{number} × {reason}" for reason, number in pulled.skipped.items()]
    following = {"project": project, "sent": sizes, "assigned": assigned_to, "until": pulled.until}
    return json.dumps(following), "; ".join(said)
