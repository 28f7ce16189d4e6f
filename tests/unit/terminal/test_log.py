"""The log: it says why a step failed, to people and to programs."""

import json

import pytest
from dagster import DagsterInstance, job, op

from crowd_assets.monitoring.tracing import stages
from crowd_assets.terminal.log import console_logger
from resources.common.errors import OperatorError


class KeyIsWrongError(OperatorError):
    """Of this test."""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_log_says_why_a_step_failed(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    @op
    def works() -> None:
        pass

    @op
    def fails(context) -> None:  # type: ignore[no-untyped-def]
        context.log.info("half\nway")
        try:
            {}["nothing"]
        except KeyError as problem:
            raise KeyIsWrongError("CROWD_X: set it") from problem

    @job(logger_defs={"console": console_logger(log_format)})
    def both() -> None:
        works()
        fails()

    with DagsterInstance.ephemeral() as instance:
        config = {"loggers": {"console": {}}}
        done = both.execute_in_process(config, instance=instance, raise_on_error=False, tags={"crowd/round": "r000007"})
        found = {stage.step: stage for stage in stages(instance, done.run_id)}
    assert set(found) == {"works", "fails"}
    assert (found["works"].failed, found["fails"].failed) == (False, True)
    assert found["fails"].begun <= found["fails"].ended
    lines = capsys.readouterr().err.splitlines()
    if log_format == "text":
        assert any("KeyIsWrongError: CROWD_X: set it" in line for line in lines)
        return
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    (said,) = [line for line in logged if line["message"] == "half\nway"]
    assert (said["level"], said["job"], said["step"], said["round_id"]) == ("info", "both", "fails", "r000007")
    (why,) = [line for line in logged if "error" in line]
    assert "KeyIsWrongError: CROWD_X: set it" in why["error"]
    assert {line["run_id"] for line in logged} == {done.run_id}
