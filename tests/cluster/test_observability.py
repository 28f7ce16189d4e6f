"""What Prometheus scrapes and a trace collector receives, over HTTP, from the packages that the extra installs."""

import http.server
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, job, op

from crowd_assets.definitions import build_definitions
from crowd_assets.monitoring.metrics import MetricsPortTakenError, as_text, serve
from crowd_assets.monitoring.tracing import export_run
from resources.build import build_resources
from resources.settings.resource import CrowdSettings

otlp = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="make cluster-test installs the extra cluster"
)
pytestmark = pytest.mark.cluster


@op
def works() -> int:
    return 1


@op
def fails(number: int) -> None:
    raise RuntimeError("a text that is nobody's business")


@job
def crowd_round() -> None:
    fails(works())


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[otlp.ExportTraceServiceRequest]]:
    """What a collector of traces is sent."""
    requests: list[otlp.ExportTraceServiceRequest] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                requests.append(otlp.ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield requests
        server.shutdown()


def test_a_run_is_one_trace_with_a_span_a_step(received: list[otlp.ExportTraceServiceRequest]) -> None:
    with DagsterInstance.ephemeral() as instance:
        tags = {"crowd/round": "r000007", "crowd/attempt": "2"}
        run = crowd_round.execute_in_process(instance=instance, raise_on_error=False, tags=tags)
        assert export_run(instance, run.run_id) == 3
        assert export_run(instance, run.run_id) == 3  # again: the same ids
        assert export_run(instance, "no-such-run") == 0
    sent = [
        span
        for request in received
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert len(sent) == 6
    spans = {span.name: span for span in sent}
    assert set(spans) == {"crowd_round", "works", "fails"}
    assert len({span.span_id for span in sent}) == 3
    assert len({span.trace_id for span in sent}) == 1
    whole = spans["crowd_round"]
    assert {span.parent_span_id for name, span in spans.items() if name != "crowd_round"} == {whole.span_id}
    for span in spans.values():
        about = {each.key: each.value.string_value for each in span.attributes}
        assert (about["crowd.round_id"], about["crowd.attempt"]) == ("r000007", "2")
        assert whole.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= whole.end_time_unix_nano
    error = 2
    assert [spans[name].status.code == error for name in ("crowd_round", "works", "fails")] == [True, False, True]
    assert "nobody's business" not in str(received)


def test_traces_are_off_unless_a_setting_asks(tmp_path: Path) -> None:
    def sensors(settings: CrowdSettings) -> set[str]:
        return {each.name for each in build_definitions(settings).sensors or []}

    settings = CrowdSettings(home=str(tmp_path))
    assert sensors(settings.changed(traces=True)) - sensors(settings) == {"traces_of_success", "traces_of_failure"}
    code = (
        "import sys, crowd_assets.definitions, crowd_assets.monitoring.metrics\n"
        "print(sorted({'opentelemetry.sdk', 'prometheus_client', 's3fs', 'botocore'} & set(sys.modules)))"
    )
    environment = {"PATH": "", "HF_HUB_OFFLINE": "1", "CROWD_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "[]"


def test_metrics_are_served_as_prometheus_reads_them(tmp_path: Path) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    settings = CrowdSettings(home=str(tmp_path))
    assert "crowd_up" in as_text(settings)
    assert "crowd_rounds" not in as_text(settings)
    build_resources(settings).warehouse.query("SELECT 1")
    server = serve(settings, "127.0.0.1", 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as answer:
        families = {each.name: each for each in text_string_to_metric_families(answer.read().decode())}
    with pytest.raises(MetricsPortTakenError, match=str(server.server_port)):
        serve(settings, "127.0.0.1", server.server_port)
    server.shutdown()
    assert families["crowd_ingested_files"].type == "counter"
    statuses = {sample.labels["status"]: sample.value for sample in families["crowd_rounds"].samples}
    assert statuses == {"claimed": 0, "settled": 0, "completed": 0, "skipped": 0}
    assert {sample.labels["part"]: sample.value for sample in families["crowd_up"].samples} == {
        "inbox": 1,
        "warehouse": 1,
    }
