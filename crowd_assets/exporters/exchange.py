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
from resources.feedback.inbox import COMPARISON_TASKS, InboxResource, OutboxResource
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


def send_tasks(label_studio: LabelStudioResource, outbox: OutboxResource, inbox: InboxResource) -> Filled:
    """Send every comparison of the outbox that the project does not have yet; delete those that are withdrawn.

    Raises:
        LabelStudioError: the server cannot be reached, or refuses.
    """
    published = outbox.published(COMPARISON_TASKS)
    return label_studio.fill(
        tasks(published), configuration(published), COMPARISON_FIELD, inbox.withdrawn_comparisons()
    )


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
    pulled = pull_judgements(label_studio, inbox, before.get("until"))
    said.append(f"{pulled.events} judgements pulled")
    said += [f"{number} × {reason}" for reason, number in pulled.skipped.items()]
    return json.dumps({"project": project, "sent": sizes, "until": pulled.until}), "; ".join(said)
