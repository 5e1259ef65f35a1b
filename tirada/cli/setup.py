"""Puts a run's parts together from settings and options, before anything is written or spent.

Invariant: everything that can be wrong with the set-up is found here; a dry run ends where the store would be opened.
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from models import registry
from models.contract import Concept, Dealer, ImageBackend, ImageRequest, LocalModel, Rewriter, Role, Writer
from models.errors import SetupError
from models.registry import BackendConfig, BackendRow
from models.roles import RoleLibrary, SeededDealer
from tirada import __version__
from tirada.cli import console
from tirada.cli.world import Nothing, World
from tirada.engine.plan import Plan, ReadyConcept, request_from_json
from tirada.errors import NotFound, OutputError, UsageError, reason
from tirada.settings import Settings, project_folder

if TYPE_CHECKING:
    from models.writers.checks import ForbiddenNames
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
        self.library = RoleLibrary(
            settings.data_dir or project_folder("data"), settings.tuning_dir or project_folder("tuning")
        )
        self.backend_row: BackendRow | None = None
        self.backend: ImageBackend | None = None
        self.writer_name: Literal["gpt", "composer"] | None = None
        #: The text model; a resumed run keeps the one it began with.
        self.text_model = settings.writer_model
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
        self.backend_row = row = registry.find(name)
        values = {setting: self.settings.value(setting) for setting in row.settings}
        self.backend = registry.build(
            row,
            BackendConfig(
                catalog=self.catalog,
                settings=values,
                timeout=self.settings.request_timeout_seconds,
                max_in_flight=self.settings.images_in_flight,
            ),
        )
        if name == "draft":
            self.say("Images are drafts: sketches drawn offline, to rehearse a batch (--dalle and others are models).")

    def choose_writer(self, name: Literal["gpt", "composer"] | None, language: str) -> None:
        """GPT where there is a key or an endpoint, else the offline composer."""
        reachable = self._gpt_reachable
        self.writer_name = name or self.settings.writer or ("gpt" if reachable else "composer")
        if self.writer_name == "gpt":
            return
        if language != "en":
            raise UsageError(
                f"The composer writes English, not {language!r}. The GPT writer does (--writer gpt, OPENAI_API_KEY)."
            )
        if not reachable:
            self.say("Prompts come from the offline composer (set OPENAI_API_KEY and GPT writes them).")

    @property
    def _gpt_reachable(self) -> bool:
        return bool(self.settings.openai_api_key or self.settings.openai_base_url)

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
            for request in self._samples(plan, ready):
                self.backend.check(request)
        # A writer that cannot be made says why: no key, no such model.
        self.writer_model()
        if rewrites(plan):
            self._check_rewriter()
        if self.writer_name is not None and (name := self.forbidden.find(plan.theme)):
            raise UsageError(f"The theme names {name!r}, which stock sites refuse (data/forbidden_names.toml).")
        if plan.prompts_only:
            from tirada.output.prompts_csv import check_file

            try:
                check_file(Path(plan.csv))
            except ValueError as exc:
                raise UsageError(str(exc)) from exc

    def estimate(self, plan: Plan, ready: Sequence[ReadyConcept]) -> Estimate:
        text = Decimal(0) if self._sample_writer is None else self._sample_writer.price(plan.concepts)
        if self.backend is None:
            return Estimate(text=text, images=Decimal(0), rendered_size=None)
        prices = [self.backend.price(request) for request in self._samples(plan, ready)]
        images: Decimal | None = Decimal(0)
        for price in prices:
            images = None if price is None or images is None else images + price * plan.images
        if images is not None and not ready:
            images *= plan.concepts
        sample = next(iter(self._samples(plan, ready)))
        return Estimate(text=text, images=images, rendered_size=self.backend.render_size(sample))

    def estimate_missing(self, plan: Plan, images: int, concepts: int) -> Estimate:
        """What so many images of a plan are expected to cost, so many of its concepts being still to be written."""
        text = Decimal(0) if self._sample_writer is None or not concepts else self._sample_writer.price(concepts)
        if self.backend is None or not images:
            return Estimate(text=text, images=Decimal(0), rendered_size=None)
        price = self.backend.price(next(self._samples(plan, ())))
        return Estimate(text=text, images=None if price is None else price * images, rendered_size=None)

    def _samples(self, plan: Plan, ready: Sequence[ReadyConcept]) -> Iterator[ImageRequest]:
        """The requests of ready concepts, or one that stands for those to be written."""
        concepts = [item.concept for item in ready] or [
            Concept(title="A title", description="", metatags=(), prompt="word " * 90)
        ]
        for concept in concepts:
            yield request_from_json(plan.request_for(concept), None)

    def model_for(self, plan: Plan) -> str:
        """The exact image model of a plan, or nothing without images."""
        return "" if self.backend is None else self.backend.model_for(next(self._samples(plan, ())))

    def settled(self, plan: Plan) -> Plan:
        """The plan with the very model, and what a local one will use where the plan leaves it open."""
        defaults: Mapping[str, Any] = {}
        if self.backend is not None and self.backend.capabilities.local:
            defaults = cast(LocalModel, self.backend).defaults(next(self._samples(plan, ())))
        return plan.with_model(self.model_for(plan) or None, defaults)

    def prepare_local(self, plan: Plan, store: Store) -> None:
        """What a local backend wants known before the first image, some of it once only; then its model is fetched."""
        from tirada.cli.local_models import fetch_ahead

        if self.backend is None or not self.backend.capabilities.local:
            return
        local, request = cast(LocalModel, self.backend), next(self._samples(plan, ()))
        for notice in local.notices(request):
            if notice.once and store.recall(notice.once) is not None:
                continue
            self.say(notice.text)
            if notice.once:
                store.remember(notice.once, "told")
        fetch_ahead(local, request, quiet=self._quiet)

    def writer_model(self) -> str:
        return "" if self._sample_writer is None else self._sample_writer.model

    @functools.cached_property
    def forbidden(self) -> ForbiddenNames:
        """The names that no concept may hold."""
        from models.writers.checks import ForbiddenNames

        return ForbiddenNames.load((self.settings.data_dir or project_folder("data")) / "forbidden_names.toml")

    @functools.cached_property
    def _sample_writer(self) -> Writer | None:
        """The chosen writer as one that is only asked for its name and price."""
        return None if self.writer_name is None else self.make_writer(Nothing())

    def _check_rewriter(self) -> None:
        """Raise where refused ideas are to be rewritten, and there is nobody who could."""
        if self.writer_name != "gpt" and not self._gpt_reachable:
            raise UsageError(
                "--on-refusal rewrite needs the GPT writer, and it cannot be reached: set OPENAI_API_KEY, or "
                "OPENAI_BASE_URL for another endpoint; --on-refusal skip does without."
            )
        rewriter = self._sample_rewriter
        if self.writer_name != "gpt":
            self.say(f"Ideas that are refused are rewritten by {rewriter.model}.")

    @functools.cached_property
    def _sample_rewriter(self) -> Rewriter:
        return self._make_gpt(Nothing())

    def writer_label(self) -> str:
        """The writer and its text model, as people read it."""
        names = dict.fromkeys([self.writer_name or "file", self.writer_model()])
        return " ".join(name for name in names if name)

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
                if estimate.images is None and self.backend is not None:
                    raise _no_price(price_hint("image", self.model_for(plan), self.backend.name), self.model_for(plan))
                raise _no_price(price_hint("text", self.writer_model()), self.writer_model())
            return
        if limited and rewrites(plan) and self._sample_rewriter.price(1) is None:
            raise _no_price(price_hint("text", self._sample_rewriter.model), self._sample_rewriter.model)
        ceiling = self.settings.confirm_above_usd
        if yes or limited or estimate.total <= ceiling:
            return
        question = f"This is expected to cost {estimate.total:.2f} USD (CONFIRM_ABOVE_USD is {ceiling})."
        if not console.can_ask():
            raise UsageError(f"{question} Say --yes, or give a limit with --budget.")
        if not console.ask(f"{question} Go on?"):
            raise UsageError("Nothing was sent.")

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

    def make_writer(self, world: Any) -> Writer:
        """The chosen writer, with ``world`` as its meter, novelty and memory."""
        if self.writer_name == "composer":
            from models.writers.composer import ComposerWriter

            return ComposerWriter(novelty=world.novelty, forbidden=self.forbidden)
        return self._make_gpt(world)

    def _make_gpt(self, world: Any) -> Rewriter:
        from models.writers.gpt import GptWriter

        return GptWriter(
            key=self.settings.value("OPENAI_API_KEY"),
            base_url=self.settings.openai_base_url,
            # Beside another writer it only rewrites, with the model that is set now.
            model=self.text_model if self.writer_name == "gpt" else self.settings.writer_model,
            catalog=self.catalog,
            meter=world.meter,
            novelty=world.novelty,
            memory=world.memory,
            forbidden=self.forbidden,
            timeout=min(120.0, self.settings.request_timeout_seconds),
            batch=self.settings.writer_batch,
            max_in_flight=self.settings.writer_in_flight,
        )

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
        ledger = Ledger(
            store,
            writer="gpt" if rewrites(plan) else self.writer_name or "file",
            backend=self.backend.name if self.backend else "",
            limits=self.limits(plan),
        )
        world = World(meter=ledger, novelty=novelty, memory=store)
        gpt = self._make_gpt(world) if rewrites(plan) else None
        writer: Writer | None = None
        dealer: Dealer | None = None
        if self.writer_name is not None:
            writer = gpt if gpt is not None and self.writer_name == "gpt" else self.make_writer(world)
            dealer = SeededDealer(plan.seed) if plan.seeded else StoredDealer(store.database, random.Random())
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
