"""How a task ends that does not end well. Each way writes its sentence into the task's log, as the last line of ours, and leaves it to
the run's note and page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NoReturn

from airflow.sdk import RetryAction, RetryDecision, RetryPolicy, get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from perennial.errors import EXIT_FAULT, EXIT_REFUSED

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context


ENDED = "ended"  # key of the XCom with the outcome and the sentence of a task that did not end well


class NothingToDo(AirflowSkipException):
    """The task is skipped."""

    def __init__(self, sentence: str) -> None:
        super().__init__()  # without arguments: Airflow would write the sentence into the log again, in another form
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


class StageEnded(SystemExit):
    """The stage's exit code is the task's exit code.

    Airflow prints a traceback of its own code for every exception but `SystemExit`. The reader of a task log wants the
    stage's sentence, which stands right above.
    """

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(code)
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


class StageRefused(StageEnded):
    """A decision: the task fails and is not tried again."""

    def __init__(self, sentence: str) -> None:
        super().__init__(EXIT_REFUSED, sentence)


class StageFault(StageEnded):
    """Something broke: the task is tried again, if tries are left."""

    def __init__(self, sentence: str) -> None:
        super().__init__(EXIT_FAULT, sentence)


class StageOverTime(StageFault):
    """The stage took longer than it may: the task fails and is not tried again, so that people hear of it now."""


class RefusalsAreFinal(RetryPolicy):
    """Retry faults as the task's settings say; never a refusal, nor what took too long."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None) -> RetryDecision:
        """Fail for good on a refusal or at the limit of time, leave all else to the task's settings."""
        is_final = isinstance(exception, (StageRefused, StageOverTime))
        return RetryDecision(RetryAction.FAIL if is_final else RetryAction.DEFAULT)


def skip(task: BaseOperator, sentence: str) -> NoReturn:
    """There is nothing to do: the task and what follows are skipped."""
    task.log.info("%s", sentence)
    _leave(task, "skipped", sentence)
    raise NothingToDo(sentence)


def refuse(task: BaseOperator, sentence: str) -> NoReturn:
    """A decision against: the task fails for good."""
    task.log.error("%s", sentence)
    _leave(task, "refused", sentence)
    raise StageRefused(sentence)


def give_up(task: BaseOperator, sentence: str) -> NoReturn:
    """Something broke: this try of the task fails."""
    task.log.error("%s", sentence)
    _leave(task, "fault", sentence)
    raise StageFault(sentence)


def end_over_time(task: BaseOperator, sentence: str) -> NoReturn:
    """It took longer than it may: the task fails for good."""
    task.log.error("%s", sentence)
    _leave(task, "fault", sentence)
    raise StageOverTime(sentence)


def _leave(task: BaseOperator, outcome: Literal["skipped", "refused", "fault"], sentence: str) -> None:
    """Leave the sentence where the run's note and page find it. How the task ends does not hang on it."""
    try:
        ti = get_current_context()["ti"]
    except RuntimeError:  # called by hand, without Airflow's runner around it
        return
    try:
        ti.xcom_push(key=ENDED, value={"outcome": outcome, "sentence": sentence})
    except Exception as error:  # noqa: BLE001 - whatever it is, the task ends as it would
        task.log.warning("The run's note and page will lack this sentence: Airflow did not take it (%s).", error)
