"""Makes ``argilla_*.json`` anew with the real SDK (2.8.0): ``tests/exports/make.sh``, which runs this in an environment with argilla.

The SDK reads the settings and records that the exporter wrote, answers are added as ``rg.Response``, and the SDK writes
settings and records again. It wants a server to say who it is talking to: a stub answers that one request. What only a
server makes (the answers of its API, rankings clicked in its interface) could not be made here, as Argilla's server
needs Elasticsearch; those layouts are from its documentation and source.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import argilla as rg
from argilla.records._io import JsonIO

ANN, BOB = "7b0f2a4e-0000-4000-8000-000000000001", "7b0f2a4e-0000-4000-8000-000000000002"
HERE = Path(__file__).parent


class WhoAmI(BaseHTTPRequestHandler):
    """The one answer that the SDK needs before it does anything."""

    def do_GET(self) -> None:
        times = {"inserted_at": "2026-01-01T00:00:00", "updated_at": "2026-01-01T00:00:00"}
        user = {"id": ANN, "username": "owner", "first_name": "o", "role": "owner", "api_key": "stub", **times}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(user).encode())


def write(name: str, settings: rg.Settings, records: list[rg.Record]) -> None:
    """Settings and records as the SDK writes them; it does not replace a file."""
    for path in (HERE / f"argilla_{name}_settings.json", HERE / f"argilla_{name}_records.json"):
        path.unlink(missing_ok=True)
    settings.to_json(HERE / f"argilla_{name}_settings.json")
    JsonIO.to_json(records, HERE / f"argilla_{name}_records.json")


def main() -> None:
    """Write the files beside this one."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), WhoAmI)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rg.Argilla(api_url=f"http://127.0.0.1:{server.server_port}", api_key="stub")
    exported = Path(sys.argv[1])

    settings = rg.Settings.from_json(exported / "argilla_settings.json")
    records = JsonIO._records_from_json(exported / "argilla_records.json")
    for record, label in zip(records, ("response_b", "response_a", "equal"), strict=True):
        record.responses.add(rg.Response("preferred", label, user_id=ANN, status="submitted"))
    records[0].responses.add(rg.Response("preferred", "response_a", user_id=BOB, status="submitted"))
    write("pairwise", settings, records)

    questions = [rg.TextQuestion(name="your_answer"), rg.RatingQuestion(name="mood", values=[0, 1, 2], required=False)]
    settings = rg.Settings(fields=[rg.TextField(name="prompt")], questions=questions)
    answers = [rg.Response("your_answer", "Thank you!", user_id=ANN), rg.Response("mood", 2, user_id=ANN)]
    write("text", settings, [rg.Record(id="t1", fields={"prompt": "How was the fair?"}, responses=answers)])


if __name__ == "__main__":
    main()
