"""The Label Studio sensor: tasks out of the outbox into the project, judgements out of the project into the inbox.

Belongs here: looking again and again, and where to go on. Does not belong here: what is exchanged: that comes from the
graph, as a function.
"""

from collections.abc import Callable

from dagster import DefaultSensorStatus, SensorDefinition, SensorEvaluationContext, SkipReason, sensor

from resources.feedback.inbox import InboxResource, OutboxResource
from resources.tools.label_studio import LabelStudioResource

Exchange = Callable[[LabelStudioResource, OutboxResource, InboxResource, str | None], tuple[str, str]]


def label_studio_sensor(exchange: Exchange, *, running: bool) -> SensorDefinition:
    """Exchanges tasks for judgements; what it puts into the inbox, the inbox sensor ingests.

    Args:
        exchange: takes the cursor, returns the next one and what was done in words.
        running: whether it runs without being switched on.
    """

    @sensor(
        name="label_studio_sensor",
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING if running else DefaultSensorStatus.STOPPED,
        description="Sends comparison tasks to Label Studio and pulls judgements into the inbox: CROWD_LABEL_STUDIO_URL.",
    )
    def evaluate(
        context: SensorEvaluationContext,
        label_studio: LabelStudioResource,
        outbox: OutboxResource,
        inbox: InboxResource,
    ) -> SkipReason:
        if not label_studio.url:
            return SkipReason("CROWD_LABEL_STUDIO_URL is not set")
        cursor, said = exchange(label_studio, outbox, inbox, context.cursor)
        context.update_cursor(cursor)  # after the file is there: what is pulled twice counts once
        return SkipReason(said)

    return evaluate
