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
from tirada.engine.jobs import JobRunner
from tirada.engine.plan import request_from_json
from tirada.engine.retry import Action, BugError, Decision, StillRunning, Trial, decide
from tirada.engine.rewriting import Rewriting
from tirada.engine.source import Job, JobSource
from tirada.engine.state import TICK, RunState
from tirada.errors import StoreError, reason


class Delivered:
    """An image on its way to the save stage."""

    __slots__ = ("attempt", "image", "job", "settled")

    def __init__(self, job: Job, image: GeneratedImage, attempt: int, settled: dict[str, Any] | None) -> None:
        self.job = job
        self.image = image
        #: The try of this sitting, from 1; 0 for what an earlier one received.
        self.attempt = attempt
        #: What settles the paid call, to be written down with the state "received".
        self.settled = settled

    @property
    def attempts(self) -> int:
        """Tries of all sittings."""
        return self.job.tried + self.attempt


class Renderer:
    """Renders jobs; ``loop`` is what each render thread runs."""

    def __init__(self, state: RunState, source: JobSource, settle: Callable[[Job], None]) -> None:
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
            while jobs := self._source.next_jobs(self._backend.capabilities.max_batch):
                self.render(jobs, deliver)
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
        self, jobs: Sequence[Job], deliver: Callable[[Delivered], None], attempt: int = 1, *, patient: bool = True
    ) -> None:
        """Render jobs until each is delivered, failed, or left to a later run because this one halts.

        ``patient`` says whether to wait for room in the budget (see ``Ledger.open``).
        """
        trials = {job.image_id: Trial(attempt=attempt, failed=attempt - 1) for job in jobs}
        while self._state.clear_to_submit() and (jobs := self._prepare(jobs, trials)):
            began = self._state.throttle.enter(lambda: self._state.stopping, TICK)
            if began is None:
                return
            answered = False
            try:
                sent = self._send(jobs, trials, patient)
                answered = any(isinstance(outcome, GeneratedImage) for _, _, outcome in sent)
            finally:
                self._state.throttle.leave(succeeded=answered)
            jobs = self._sort_out(sent, trials, began, deliver)

    def _prepare(self, jobs: Sequence[Job], trials: Mapping[int, Trial]) -> list[Job]:
        """The jobs that can be asked for, in other words where theirs were refused."""
        ready = []
        for job in jobs:
            found = self._rewriting.prepare(job)
            if isinstance(found, Job):
                ready.append(found)
            elif found is not None:
                both = Refused(f"{job.refused} It could not be rewritten: {found}")
                self._fail(job, both, "refused", None, job.tried + trials[job.image_id].attempt - 1)
        return ready

    def _send(
        self, jobs: Sequence[Job], trials: Mapping[int, Trial], patient: bool
    ) -> list[tuple[Job, str | None, GeneratedImage | ModelError]]:
        """Open the calls and ask; a job whose call may not be made comes back with the error that says why."""
        opened: list[tuple[Job, str | None]] = []
        kept: list[tuple[Job, str | None, GeneratedImage | ModelError]] = []
        for job in map(self._rewriting.newest, jobs):
            try:
                opened.append((job, self._open(job, trials[job.image_id].attempt, patient)))
            except ModelError as exc:
                kept.append((job, None, exc))
        outcomes = self._generate(opened) if opened else []
        return [*((job, call, outcome) for (job, call), outcome in zip(opened, outcomes, strict=True)), *kept]

    def _sort_out(
        self,
        sent: Sequence[tuple[Job, str | None, GeneratedImage | ModelError]],
        trials: Mapping[int, Trial],
        began: float,
        deliver: Callable[[Delivered], None],
    ) -> list[Job]:
        """Deliver what came, write down what failed; returns what is to be asked again, after the wait."""
        again: list[tuple[Job, Decision, ModelError]] = []
        for job, call, outcome in sent:
            trial = trials[job.image_id]
            if isinstance(outcome, GeneratedImage):
                self._state.service_answered("image")
                deliver(Delivered(job, outcome, trial.attempt, self._settled(call, outcome)))
            elif (decision := self._give_up(job, call, outcome, trial)) is not None:
                # A job that failed is dead; the next try hands in a new one.
                refused = redact(str(outcome)) if decision.action is Action.REWRITE else ""
                again.append((replace(job, pending=None, pending_call=None, refused=refused), decision, outcome))
            trial.attempt += 1
        if waits := [one for one in again if one[1].action is Action.RETRY]:
            self._pause(waits, trials, began)
        return [job for job, _, _ in again]

    def _open(self, job: Job, attempt: int, patient: bool) -> str | None:
        """The intent row of a paid call; free backends need none, nothing is lost by asking again."""
        if not self._paid:
            return None
        ledger, store = self._state.parts.ledger, self._state.parts.store
        if job.pending is not None and job.pending_call is not None:
            return job.pending_call
        call = ledger.new_call(
            kind="image",
            model=self._backend.model_for(job.request),
            estimate=self._backend.price(job.request),
        )
        prompt = None if job.words is job.concept.words else job.words.prompt
        tries = job.tried + attempt
        ledger.open(call, lambda: store.submit_image(job.image_id, tries, call, ledger.limits, prompt), patient=patient)
        return str(call["id"])

    def _generate(self, opened: Sequence[tuple[Job, str | None]]) -> Sequence[GeneratedImage | ModelError]:
        jobs = [job for job, _ in opened]
        try:
            if self._runner is not None:
                return [self._runner.run(job, call) for job, call in opened if call is not None]
            outcomes = self._backend.generate([job.request for job in jobs])
            if len(outcomes) != len(jobs) or not all(isinstance(one, GeneratedImage | ModelError) for one in outcomes):
                raise TypeError(f"backend {self._backend.name!r} answered {len(jobs)} requests with {outcomes!r:.200}")
            return outcomes
        except ModelError as exc:
            return [exc] * len(jobs)
        except (OSError, StoreError):
            raise
        except Exception as exc:  # noqa: BLE001 - one item's failure never ends the batch
            self._state.bug(exc)
            return [BugError(f"{type(exc).__name__}: {redact(str(exc))}")] * len(jobs)

    def _settled(self, call: str | None, image: GeneratedImage) -> dict[str, Any] | None:
        if call is None:
            return None
        return self._state.parts.ledger.settled(call, cost=image.cost_usd, usage=image.usage)

    def _give_up(self, job: Job, call: str | None, error: ModelError, trial: Trial) -> Decision | None:
        """Write an error down. Returns the decision when the job is to be tried again, else None."""
        state = self._state
        rewritable = self._rewriting.helps(job)
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
        attempts = job.tried + trial.attempt
        if decision.action is Action.REWRITE:
            # Where the run ends before there are other words, a later one knows that these will not do.
            why = {"error_kind": error.kind, "error": redact(str(error))}
            state.parts.store.set_image(job.image_id, "planned", settled=settled, attempts=attempts, **why)
            return decision
        if decision.action is Action.FAIL:
            self._fail(job, error, decision.state, settled, attempts)
            return None
        if decision.action is Action.HALT:
            # Before anything is written: until then others would go on submitting.
            state.halt(error.kind, str(error))
        if settled is not None or decision.action is Action.HALT:
            state.parts.store.set_image(job.image_id, "planned", settled=settled, attempts=attempts)
        return decision if decision.action is Action.RETRY else None

    def _fail(self, job: Job, error: ModelError, left: str, settled: dict[str, Any] | None, attempts: int) -> None:
        state = self._state
        state.parts.store.set_image(
            job.image_id,
            left,
            settled=settled,
            attempts=attempts,
            error_kind=error.kind,
            error=redact(str(error)),
            **({} if self._paid else {"cost": "0"}),
        )
        state.count(**{left: 1})
        state.emit(ImageFailed(job.concept.folder, job.position, error.kind, str(error)))
        if isinstance(error, Unavailable):
            state.service_failed(error)
        self._settle(job)

    def _pause(
        self, again: Sequence[tuple[Job, Decision, ModelError]], trials: Mapping[int, Trial], began: float
    ) -> None:
        wait = max(decision.wait for _, decision, _ in again)
        job, decision, error = again[0]
        what = f"{job.concept.folder.name}, image {job.position}"
        self._state.emit(Retrying(what, trials[job.image_id].attempt, wait, str(error)))
        if decision.everyone:
            self._state.throttle.slow_down(began, wait)
        else:
            self._state.wait(wait)
