"""Traces: an OpenTelemetry span for each stage of a round, made from Dagster's events once its run has ended.

So they are the same whatever executes steps, and no step waits for a collector. Ids are hashes of the run's, so that a run that
is sent twice is one trace. Spans say which run, round, attempt and step, and whether it failed: no text of anybody.

Belongs here: spans. Does not belong here: when they are sent (see ``sensors.traces``); where to, which OpenTelemetry reads from
its own variables (``OTEL_EXPORTER_OTLP_ENDPOINT``).
"""

import hashlib
from dataclasses import dataclass

from dagster import DagsterEventType, DagsterInstance

from resources.home.names import ROUND_TAG

SERVICE = "crowd-rounds"
NANOSECONDS = 1_000_000_000
BEGIN = {DagsterEventType.STEP_START, DagsterEventType.STEP_RESTARTED}
END = {DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE, DagsterEventType.STEP_UP_FOR_RETRY}


@dataclass(frozen=True)
class Stage:
    """A step of a run: from when to when, in seconds since the epoch, and whether it failed."""

    step: str
    begun: float
    ended: float
    failed: bool


def stages(instance: DagsterInstance, run_id: str) -> list[Stage]:
    """The steps of a run that have ended, in order; one that was tried again is there once for each time."""
    begun: dict[str, float] = {}
    spans = []
    for record in instance.all_logs(run_id):
        event = record.dagster_event
        if event is None or event.step_key is None:
            continue
        if event.event_type in BEGIN:
            begun[event.step_key] = record.timestamp
        elif event.event_type in END and event.step_key in begun:
            failed = event.event_type != DagsterEventType.STEP_SUCCESS
            spans.append(Stage(event.step_key, begun.pop(event.step_key), record.timestamp, failed))
    return spans


def export_run(instance: DagsterInstance, run_id: str) -> int:
    """Send the spans of a run that has ended; returns how many. A collector that does not answer is a warning of
    OpenTelemetry's, and no reason to fail."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace import Status, StatusCode, set_span_in_context

    class OfTheRun(IdGenerator):
        spans = 0

        def generate_trace_id(self) -> int:
            return _number(run_id, 16)

        def generate_span_id(self) -> int:
            self.spans += 1
            return _number(f"{run_id} {self.spans}", 8)

    run = instance.get_run_by_id(run_id)
    exported = stages(instance, run_id)
    if run is None or not exported:
        return 0
    about = {"crowd.run_id": run_id, "crowd.job": run.job_name}
    if ROUND_TAG in run.tags:
        about |= {"crowd.round_id": run.tags[ROUND_TAG], "crowd.attempt": run.tags.get("crowd/attempt", "1")}
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}), id_generator=OfTheRun())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer(SERVICE)
    whole = tracer.start_span(run.job_name, start_time=_nanoseconds(exported[0].begun), attributes=about)
    for stage in exported:
        span = tracer.start_span(
            stage.step,
            context=set_span_in_context(whole),
            start_time=_nanoseconds(stage.begun),
            attributes=about | {"crowd.step": stage.step},
        )
        if stage.failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(stage.ended))
    if not run.is_success:
        whole.set_status(Status(StatusCode.ERROR))
    whole.end(_nanoseconds(max(stage.ended for stage in exported)))
    provider.shutdown()
    return 1 + len(exported)


def _nanoseconds(instant: float) -> int:
    return int(instant * NANOSECONDS)


def _number(text: str, size: int) -> int:
    """A number of ``size`` bytes, above 0."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest()) or 1
