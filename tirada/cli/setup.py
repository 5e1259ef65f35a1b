"""Puts a run's parts together from settings and options, before anything is written or spent.

Invariant: everything that can be wrong with the set-up is found here; a dry run ends where the store would be opened.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from models import registry
from models.contract import Concept, Dealer, ImageBackend, LocalModel, Role, Writer
from models.errors import SetupError
from models.registry import BackendConfig, BackendRow
from models.roles import RoleLibrary, SeededDealer
from tirada import __version__
from tirada.cli import console
from tirada.cli.samples import Samples
from tirada.cli.texts import Texts
from tirada.cli.world import World
from tirada.engine.plan import Plan, ReadyConcept
from tirada.errors import NotFound, OutputError, UsageError, reason
from tirada.settings import Settings, project_folder
from tirada.workflows.registry import job_of

if TYPE_CHECKING:
    from tirada.engine.state import EngineOptions, Parts
    from tirada.store.calls import Limits
    from tirada.store.store import Store

TOOL = f"Tirada {__version__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run is expected to cost in USD; None = unknown."""

    text: Decimal | None
    images: Decimal | None
    rendered_size: tuple[int, int] | None

    @property
    def total(self) -> Decimal | None:
        return None if self.text is None or self.images is None else self.text + self.images


class Setup:
    """Settings and options on their way to becoming ``Parts``."""

    def __init__(self, settings: Settings, *, output: Path | None, quiet: bool = False) -> None:
        from models.catalog import load_catalog

        self.settings = settings
        self.output = output or settings.output_dir
        self.catalog = load_catalog(settings.catalog_file)
        self.data = settings.data_dir or project_folder("data")
        self.library = RoleLibrary(self.data, settings.tuning_dir or project_folder("tuning"))
        self.backend_row: BackendRow | None = None
        self.backend: ImageBackend | None = None
        #: Backends of steps that have one of their own, by name.
        self._others: dict[str, tuple[ImageBackend, str]] = {}
        self.texts = Texts(settings, self.catalog, quiet=quiet)
        self.roles: tuple[Role, ...] = ()
        self._quiet = quiet

    def say(self, text: str) -> None:
        if not self._quiet:
            console.note(text)

    # --- choices

    def choose_backend(self, name: str | None) -> None:
        """Make the backend of that name; None for a run without images."""
        if name is None:
            return
        self.backend_row = registry.find(name)
        self.backend = self._build(self.backend_row)
        self.samples = Samples(self.backend, lambda other: self.other_backend(other)[0])
        if name == "draft":
            self.say("Images are drafts: sketches drawn offline, to rehearse a batch (--dalle and others are models).")

    def other_backend(self, name: str) -> tuple[ImageBackend, str]:
        """The backend that a step of a job has of its own, and what people call it."""
        if name not in self._others:
            row = registry.find(name)
            self._others[row.name] = (self._build(row), row.label)
        return self._others[name]

    def _build(self, row: BackendRow) -> ImageBackend:
        return registry.build(
            row,
            BackendConfig(
                catalog=self.catalog,
                settings={setting: self.settings.value(setting) for setting in row.settings},
                timeout=self.settings.request_timeout_seconds,
                max_in_flight=self.settings.images_in_flight,
            ),
        )

    def choose_roles(self, plan: Plan) -> Plan:
        """Load the roles of a plan, all there are where it names none."""
        if plan.roles:
            self.roles = tuple(self.library.load(name) for name in plan.roles)
        else:
            self.roles = tuple(self.library.load_usable())
        for problem in self.library.problems:
            console.warn(str(problem))
        return replace(plan, roles=tuple(role.name for role in self.roles))

    def read_concepts(self, path: Path) -> list[Concept]:
        """The concepts of a prompt file; what is wrong with a line is said, and the rest is used."""
        from tirada.output.prompt_files import read_concepts

        if path.is_dir():
            raise UsageError(f"{str(path)!r} is a folder; --from takes a CSV, JSONL or text file.")
        if not path.exists():
            raise NotFound(f"There is no file {str(path)!r}.")
        try:
            found = read_concepts(path)
        except ValueError as exc:
            raise UsageError(f"{exc}.") from exc
        for problem in found.problems:
            console.warn(str(problem))
        return [replace(concept, writer="file") for _, concept in found.concepts]

    # --- checks and figures

    def check(self, plan: Plan, ready: Sequence[ReadyConcept]) -> None:
        """Raise before anything is spent if the backend cannot do what the plan asks."""
        if self.backend is not None:
            for sample in self.samples.of(plan, ready):
                sample.backend.check(sample.request)
        # A writer that cannot be made says why: no key, no such model.
        self.texts.model(plan)
        if rewrites(plan):
            self.texts.check_rewriter()
        if self.texts.name is not None and (name := self.texts.forbidden.find(plan.theme)):
            raise UsageError(f"The theme names {name!r}, which stock sites refuse (data/forbidden_names.toml).")
        if plan.prompts_only:
            from tirada.output.prompts_csv import check_file

            try:
                check_file(Path(plan.csv))
            except ValueError as exc:
                raise UsageError(str(exc)) from exc

    def estimate(self, plan: Plan, ready: Sequence[ReadyConcept]) -> Estimate:
        text = self.texts.price(plan, plan.concepts)
        if self.backend is None:
            return Estimate(text=text, images=Decimal(0), rendered_size=None)
        images: Decimal | None = Decimal(0)
        for sample in self.samples.of(plan, ready):
            price = sample.backend.price(sample.request)
            images = None if price is None or images is None else images + price * sample.images
        return Estimate(text=text, images=images, rendered_size=self.backend.render_size(self.samples.own(plan)))

    def estimate_missing(self, plan: Plan, images: int, concepts: int) -> Estimate:
        """What so many images of a plan are expected to cost, so many of its concepts being still to be written."""
        text = self.texts.price(plan, concepts) if concepts else Decimal(0)
        if self.backend is None or not images:
            return Estimate(text=text, images=Decimal(0), rendered_size=None)
        prices = [sample.backend.price(sample.request) for sample in self.samples.of(plan, ())]
        # Of a job, nobody knows beforehand which steps they are of: the dearest, so as not to promise too much.
        dearest = None if None in prices else max(price for price in prices if price is not None)
        return Estimate(text=text, images=None if dearest is None else dearest * images, rendered_size=None)

    def model_for(self, plan: Plan) -> str:
        """The exact image model of a plan, or nothing without images."""
        return "" if self.backend is None else self.backend.model_for(self.samples.own(plan))

    def settled(self, plan: Plan) -> Plan:
        """The plan with the very model, and what a local one will use where the plan leaves it open."""
        if self.backend is None:
            return plan
        defaults: Mapping[str, Any] = {}
        if self.backend.capabilities.local:
            defaults = cast(LocalModel, self.backend).defaults(self.samples.own(plan))
        plan = plan.with_model(self.model_for(plan) or None, defaults)
        # A step with a backend of its own has a model of its own, too.
        models = {
            sample.step: sample.backend.model_for(sample.request)
            for sample in self.samples.of(plan, ())
            if plan.backend_of(sample.step)
        }
        return plan.with_step_models(models)

    def prepare_local(self, plan: Plan, store: Store) -> None:
        """What local backends want known first, some of it once only; then the models are fetched that they lack."""
        from tirada.cli.local_models import fetch_ahead

        if self.backend is None:
            return
        asked = [(self.backend, self.samples.own(plan))]
        asked += [(one.backend, one.request) for one in self.samples.of(plan, ()) if plan.backend_of(one.step)]
        for backend, request in asked:
            if not backend.capabilities.local:
                continue
            local = cast(LocalModel, backend)
            for notice in local.notices(request):
                if notice.once and store.recall(notice.once) is not None:
                    continue
                self.say(notice.text)
                if notice.once:
                    store.remember(notice.once, "told")
            fetch_ahead(local, request, quiet=self._quiet)

    def limits(self, plan: Plan) -> Limits:
        """What may be spent: by the run's own budget or the setting, and in the month."""
        from tirada.store.calls import Limits

        run = Decimal(plan.budget) if plan.budget else self.settings.budget_usd_per_run
        return Limits(run=run, month=self.settings.budget_usd_per_month)

    def check_money(self, plan: Plan, estimate: Estimate, *, yes: bool) -> None:
        """Fail closed: raise unless the run is cheap, limited or agreed to; on a terminal the user is asked."""
        from models.catalog import price_hint

        limits = self.limits(plan)
        limited = limits.run is not None or limits.month is not None
        if estimate.total is None:
            if limited:
                if estimate.images is None:
                    backend, model = self._unpriced(plan)
                    raise _no_price(price_hint("image", model, backend), model)
                raise _no_price(price_hint("text", self.texts.model(plan)), self.texts.model(plan))
            return
        if limited and rewrites(plan) and self.texts.sample_rewriter.price(1) is None:
            model = self.texts.sample_rewriter.model
            raise _no_price(price_hint("text", model), model)
        ceiling = self.settings.confirm_above_usd
        if yes or limited or estimate.total <= ceiling:
            return
        question = f"This is expected to cost {estimate.total:.2f} USD (CONFIRM_ABOVE_USD is {ceiling})."
        if not console.can_ask():
            raise UsageError(f"{question} Say --yes, or give a limit with --budget.")
        if not console.ask(f"{question} Go on?"):
            raise UsageError("Nothing was sent.")

    def _unpriced(self, plan: Plan) -> tuple[str, str]:
        """The first backend and model whose price nobody knows."""
        found = (one for one in self.samples.of(plan, ()) if one.backend.price(one.request) is None)
        sample = next(found)
        return sample.backend.name, sample.backend.model_for(sample.request)

    # --- parts

    def open_store(self) -> Store:
        """Make the output folder and open the store in it; raises OutputError where that cannot be."""
        from tirada.store.store import Store

        try:
            self.output.mkdir(parents=True, exist_ok=True)
            probe = self.output / ".tirada"
            probe.mkdir(exist_ok=True)
        except OSError as exc:
            raise OutputError(f"The output folder {str(self.output)!r} cannot be written: {reason(exc)}.") from exc
        return Store(self.output / "tirada.db")

    def open_existing_store(self) -> Store:
        """The store of the output folder; raises NotFound where nothing was ever made."""
        if not (self.output / "tirada.db").exists():
            raise NotFound(f"Nothing was made in {str(self.output)!r} yet; --output names another folder.")
        return self.open_store()

    def make_parts(self, store: Store, plan: Plan) -> Parts:
        """Everything a run works with."""
        from tirada.engine.ledger import Ledger
        from tirada.engine.novelty import NoveltyIndex
        from tirada.engine.state import Parts
        from tirada.output.prompts_csv import read_rows
        from tirada.store.decks import StoredDealer

        csv = self.output / "batch_prompts.csv"

        def existing() -> Iterator[tuple[str, str]]:
            # A seeded run is to come out the same whatever was made before.
            if plan.seeded:
                return
            yield from store.texts()
            # A file of another make is not ours to compare with.
            with contextlib.suppress(ValueError):
                yield from ((row.title, row.description) for row in read_rows(csv))

        novelty = NoveltyIndex(existing)
        texts = self.texts
        ledger = Ledger(
            store,
            writer="gpt" if rewrites(plan) else texts.name or "file",
            backend=self.backend.name if self.backend else "",
            limits=self.limits(plan),
        )
        world = World(meter=ledger, novelty=novelty, memory=store)
        gpt = texts.make_gpt(world) if rewrites(plan) and not plan.steps else None
        writer: Writer | None = None
        dealer: Dealer | None = None
        if texts.name is not None and not plan.steps:
            writer = gpt if gpt is not None and texts.name == "gpt" else texts.make_writer(world)
            dealer = SeededDealer(plan.seed) if plan.seeded else StoredDealer(store.database, random.Random())
        own = {plan.backend_of(number) for number in range(len(plan.steps))} - {""}
        return Parts(
            store=store,
            output=self.output,
            backend=self.backend,
            backend_label=self.backend_row.label if self.backend_row else "",
            writer=writer,
            roles=self.roles,
            dealer=dealer,
            novelty=novelty,
            ledger=ledger,
            tool=TOOL,
            rewriter=gpt,
            job=job_of(plan, self.data),
            scribe=texts.make_scribe(world, plan) if texts.answers(plan) else None,
            rewording=texts.make_scribe(world) if rewrites(plan) and plan.steps else None,
            others={name: self.other_backend(name) for name in own},
        )

    def engine_options(self) -> EngineOptions:
        from tirada.engine.retry import RetryPolicy
        from tirada.engine.state import EngineOptions

        settings = self.settings
        return EngineOptions(
            retry=RetryPolicy(
                tries=settings.retry_tries,
                wait=settings.retry_wait_seconds,
                longest_wait=settings.retry_max_wait_seconds,
                total_wait=settings.retry_max_total_seconds,
            ),
            min_free=settings.min_free_mb * 1024 * 1024,
            save_threads=settings.save_threads,
            job_wait=settings.job_wait_seconds,
        )


def rewrites(plan: Plan) -> bool:
    """Does the plan want refused ideas put into other words?"""
    return plan.on_refusal == "rewrite" and not plan.prompts_only


def _no_price(hint: str, model: str) -> SetupError:
    return SetupError(f"There is a budget, and the catalog has no price for {model!r}.", hint=f"{hint}.")
