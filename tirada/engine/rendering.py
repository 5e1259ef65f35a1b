"""The render stage: asks the backend, decides about its errors, hands images on to be saved.

Invariant: a paid call is written down before it leaves; an image whose outcome is unknown is not asked for again here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from models.contract import Concept, GeneratedImage, ImageBackend, LocalModel
from models.errors import ModelError, Refused, Unavailable
from models.redaction import redact
from tirada.engine.events import ImageFailed, Retrying
from tirada.engine.items import FILE_LISTS, FILES
from tirada.engine.plan import request_from_json
from tirada.engine.retry import Action, BugError, Decision, StillRunning, Trial, decide
from tirada.engine.rewriting import Rewriting
from tirada.engine.service_jobs import JobRunner
from tirada.engine.source import RenderTask, TaskSource
from tirada.engine.state import TICK, RunState
from tirada.errors import StoreError, reason


class Delivered:
    """An image on its way to the save stage."""

    __slots__ = ("attempt", "image", "settled", "task")

    def __init__(self, task: RenderTask, image: GeneratedImage, attempt: int, settled: dict[str, Any] | None) -> None:
        self.task = task
        self.image = image
        #: The try of this sitting, from 1; 0 for what an earlier one received.
        self.attempt = attempt
        #: What settles the paid call, to be written down with the state "received".
        self.settled = settled

    @property
    def attempts(self) -> int:
        """Tries of all sittings."""
        return self.task.tried + self.attempt


class Renderer:
    """Renders tasks; ``loop`` is what each render thread runs."""

    def __init__(self, state: RunState, source: TaskSource, settle: Callable[[RenderTask], None]) -> None:
        assert state.parts.backend is not None
        self._state = state
        self._source = source
        self._backend: ImageBackend = state.parts.backend
        self._paid = self._backend.capabilities.paid
        self._settle = settle
        self._rewriting = Rewriting(state)
        self._runner = JobRunner(state, self._backend) if self._backend.capabilities.jobs else None

    def loop(self, deliver: Callable[[Delivered], None]) -> None:
        try:
            self._warm_up()
            while tasks := self._source.next_tasks(self._backend.capabilities.max_batch):
                self.render(tasks, deliver)
        except (OSError, StoreError) as exc:
            self._state.halt("disk", f"The images cannot be kept: {reason(exc)}.")

    def _warm_up(self) -> None:
        """Have a local model loaded while the writer still writes."""
        state = self._state
        if not self._backend.capabilities.local:
            return
        plan = state.plan
        sample = Concept(title="", description="", metatags=(), prompt="a")
        try:
            request = request_from_json({**plan.request_for(sample), **self._of_step()}, None)
            cast(LocalModel, self._backend).warm_up(request, plan.concepts * plan.images)
        except ModelError as exc:
            state.halt(exc.kind, str(exc))
        except (OSError, StoreError):
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is, the first image will say so again
            state.bug(exc)

    def _of_step(self) -> dict[str, Any]:
        """What the step of a job that is rendered asks of a model, but for pictures that are still to be made."""
        step = self._source.step
        own = {} if step is None else self._state.plan.step_request(step)
        return {name: value for name, value in own.items() if name not in (*FILES, *FILE_LISTS)}

    def render(
        self,
        tasks: Sequence[RenderTask],
        deliver: Callable[[Delivered], None],
        attempt: int = 1,
        *,
        patient: bool = True,
    ) -> None:
        """Render tasks until each is delivered, failed, or left to a later run because this one halts.

        ``patient`` says whether to wait for room in the budget (see ``Ledger.open``).
        """
        trials = {task.image_id: Trial(attempt=attempt, failed=attempt - 1) for task in tasks}
        while self._state.clear_to_submit() and (tasks := self._prepare(tasks, trials)):
            began = self._state.throttle.enter(lambda: self._state.stopping, TICK)
            if began is None:
                return
            answered = False
            try:
                sent = self._send(tasks, trials, patient)
                answered = any(isinstance(outcome, GeneratedImage) for _, _, outcome in sent)
            finally:
                self._state.throttle.leave(succeeded=answered)
            tasks = self._sort_out(sent, trials, began, deliver)

    def _prepare(self, tasks: Sequence[RenderTask], trials: Mapping[int, Trial]) -> list[RenderTask]:
        """The tasks that can be asked for, in other words where theirs were refused."""
        ready = []
        for task in tasks:
            found = self._rewriting.prepare(task)
            if isinstance(found, RenderTask):
                ready.append(found)
            elif found is not None:
                both = Refused(f"{task.refused} It could not be rewritten: {found}")
                self._fail(task, both, "refused", None, task.tried + trials[task.image_id].attempt - 1)
        return ready

    def _send(
        self, tasks: Sequence[RenderTask], trials: Mapping[int, Trial], patient: bool
    ) -> list[tuple[RenderTask, str | None, GeneratedImage | ModelError]]:
        """Open the calls and ask; a task whose call may not be made comes back with the error that says why."""
        opened: list[tuple[RenderTask, str | None]] = []
        kept: list[tuple[RenderTask, str | None, GeneratedImage | ModelError]] = []
        for task in map(self._rewriting.newest, tasks):
            try:
                opened.append((task, self._open(task, trials[task.image_id].attempt, patient)))
            except ModelError as exc:
                kept.append((task, None, exc))
        outcomes = self._generate(opened) if opened else []
        return [*((task, call, outcome) for (task, call), outcome in zip(opened, outcomes, strict=True)), *kept]

    def _sort_out(
        self,
        sent: Sequence[tuple[RenderTask, str | None, GeneratedImage | ModelError]],
        trials: Mapping[int, Trial],
        began: float,
        deliver: Callable[[Delivered], None],
    ) -> list[RenderTask]:
        """Deliver what came, write down what failed; returns what is to be asked again, after the wait."""
        again: list[tuple[RenderTask, Decision, ModelError]] = []
        for task, call, outcome in sent:
            trial = trials[task.image_id]
            if isinstance(outcome, GeneratedImage):
                self._state.service_answered("image")
                deliver(Delivered(task, outcome, trial.attempt, self._settled(call, outcome)))
            elif (decision := self._give_up(task, call, outcome, trial)) is not None:
                # A job that failed is dead; the next try hands in a new one.
                refused = redact(str(outcome)) if decision.action is Action.REWRITE else ""
                again.append((replace(task, pending=None, pending_call=None, refused=refused), decision, outcome))
            trial.attempt += 1
        if waits := [one for one in again if one[1].action is Action.RETRY]:
            self._pause(waits, trials, began)
        return [task for task, _, _ in again]

    def _open(self, task: RenderTask, attempt: int, patient: bool) -> str | None:
        """The intent row of a paid call; free backends need none, nothing is lost by asking again."""
        if not self._paid:
            return None
        ledger, store = self._state.parts.ledger, self._state.parts.store
        if task.pending is not None and task.pending_call is not None:
            return task.pending_call
        call = ledger.new_call(
            kind="image",
            model=self._backend.model_for(task.request),
            estimate=self._backend.price(task.request),
        )
        prompt = None if task.words is task.concept.words else task.words.prompt
        tries = task.tried + attempt
        ledger.open(
            call, lambda: store.submit_image(task.image_id, tries, call, ledger.limits, prompt), patient=patient
        )
        return str(call["id"])

    def _generate(self, opened: Sequence[tuple[RenderTask, str | None]]) -> Sequence[GeneratedImage | ModelError]:
        tasks = [task for task, _ in opened]
        try:
            if self._runner is not None:
                return [self._runner.run(task, call) for task, call in opened if call is not None]
            outcomes = self._backend.generate([task.request for task in tasks])
            if len(outcomes) != len(tasks) or not all(isinstance(one, GeneratedImage | ModelError) for one in outcomes):
                raise TypeError(f"backend {self._backend.name!r} answered {len(tasks)} requests with {outcomes!r:.200}")
            return outcomes
        except ModelError as exc:
            return [exc] * len(tasks)
        except (OSError, StoreError):
            raise
        except Exception as exc:  # noqa: BLE001 - one item's failure never ends the batch
            self._state.bug(exc)
            return [BugError(f"{type(exc).__name__}: {redact(str(exc))}")] * len(tasks)

    def _settled(self, call: str | None, image: GeneratedImage) -> dict[str, Any] | None:
        if call is None:
            return None
        return self._state.parts.ledger.settled(call, cost=image.cost_usd, usage=image.usage)

    def _give_up(self, task: RenderTask, call: str | None, error: ModelError, trial: Trial) -> Decision | None:
        """Write an error down. Returns the decision when the task is to be tried again, else None."""
        state = self._state
        rewritable = self._rewriting.helps(task)
        decision = decide(error, trial, state.options.retry, proven=state.proven("image"), rewritable=rewritable)
        if decision.action is Action.LEAVE:
            if call is not None:
                state.parts.ledger.leave(call)
            if isinstance(error, StillRunning) and error.cause is not None:
                state.halt(error.cause.kind, str(error.cause))
            return None
        settled = None
        if call is not None:
            settled = state.parts.ledger.settled(call, cost=getattr(error, "cost_usd", None), error=error)
        attempts = task.tried + trial.attempt
        if decision.action is Action.REWRITE:
            # Where the run ends before there are other words, a later one knows that these will not do.
            why = {"error_kind": error.kind, "error": redact(str(error))}
            state.parts.store.set_image(task.image_id, "planned", settled=settled, attempts=attempts, **why)
            return decision
        if decision.action is Action.FAIL:
            self._fail(task, error, decision.state, settled, attempts)
            return None
        if decision.action is Action.HALT:
            # Before anything is written: until then others would go on submitting.
            state.halt(error.kind, str(error))
        if settled is not None or decision.action is Action.HALT:
            state.parts.store.set_image(task.image_id, "planned", settled=settled, attempts=attempts)
        return decision if decision.action is Action.RETRY else None

    def _fail(
        self, task: RenderTask, error: ModelError, left: str, settled: dict[str, Any] | None, attempts: int
    ) -> None:
        state = self._state
        state.parts.store.set_image(
            task.image_id,
            left,
            settled=settled,
            attempts=attempts,
            error_kind=error.kind,
            error=redact(str(error)),
            **({} if self._paid else {"cost": "0"}),
        )
        state.count(**{left: 1})
        state.emit(ImageFailed(task.concept.folder, task.position, error.kind, str(error), task.name))
        if isinstance(error, Unavailable):
            state.service_failed(error)
        self._settle(task)

    def _pause(
        self, again: Sequence[tuple[RenderTask, Decision, ModelError]], trials: Mapping[int, Trial], began: float
    ) -> None:
        wait = max(decision.wait for _, decision, _ in again)
        task, decision, error = again[0]
        what = f"{task.concept.folder.name}, image {task.name or task.position}"
        self._state.emit(Retrying(what, trials[task.image_id].attempt, wait, str(error)))
        if decision.everyone:
            self._state.throttle.slow_down(began, wait)
        else:
            self._state.wait(wait)
