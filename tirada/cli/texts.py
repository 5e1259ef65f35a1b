"""Who writes the texts of a run: the GPT writer, the offline composer, or a scribe that answers a job's questions.

Invariant: nothing is asked here but moderation, which is free; what is made for its price alone has an empty world
around it.
"""

from __future__ import annotations

import functools
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from models.catalog import Catalog
from models.contract import Rewriter, Scribe, Writer
from models.errors import UnsupportedRequest
from tirada.cli import console
from tirada.cli.world import Nothing
from tirada.engine.plan import Plan
from tirada.errors import UsageError
from tirada.settings import Settings, project_folder

if TYPE_CHECKING:
    from models.writers.checks import ForbiddenNames

Name = Literal["gpt", "composer"]
#: The longest that one text may take, in seconds; long ones more, at so many tokens a second from a slow model.
PATIENCE, SLOW = 120.0, 25.0


class Texts:
    """Settings and options on their way to a writer, a rewriter or a scribe."""

    def __init__(self, settings: Settings, catalog: Catalog, *, quiet: bool) -> None:
        self._settings = settings
        self._catalog = catalog
        self._quiet = quiet
        #: None until somebody is chosen, and for runs whose texts are there already.
        self.name: Name | None = None
        #: The text model; a resumed run keeps the one it began with.
        self.model_name = settings.writer_model

    # --- choices

    @property
    def reachable(self) -> bool:
        """Is there a key, or an endpoint that may do without one?"""
        return bool(self._settings.openai_api_key or self._settings.openai_base_url)

    def choose(self, name: Name | None) -> Name:
        """Who is there: GPT where it can be reached, else nobody but ourselves, unless the user says who."""
        self.name = name or self._settings.writer or ("gpt" if self.reachable else "composer")
        return self.name

    def choose_writer(self, name: Name | None, language: str) -> None:
        """The same for a run whose concepts are written; raises UsageError for a language that nobody there writes."""
        if self.choose(name) == "gpt":
            return
        if language != "en":
            raise UsageError(
                f"The composer writes English, not {language!r}. The GPT writer does (--writer gpt, OPENAI_API_KEY)."
            )
        if not self.reachable and not self._quiet:
            console.note("Prompts come from the offline composer (set OPENAI_API_KEY and GPT writes them).")

    # --- what is known beforehand

    def model(self, plan: Plan | None = None) -> str:
        """The text model of a plan, or of any batch; "" where none is asked. Raises SetupError where it cannot be."""
        if plan is not None and plan.steps:
            return self._sample_scribe.model if self.answers(plan) else ""
        return "" if self._sample_writer is None else self._sample_writer.model

    def label(self, plan: Plan | None = None) -> str:
        """The writer and its text model, as people read it."""
        names = dict.fromkeys([self.name or "file", self.model(plan)])
        return " ".join(name for name in names if name)

    def price(self, plan: Plan, concepts: int) -> Decimal | None:
        """Expected USD of what is asked for so many concepts; None = unknown."""
        if not plan.steps:
            return Decimal(0) if self._sample_writer is None else self._sample_writer.price(concepts)
        total: Decimal | None = Decimal(0)
        for ask in plan.asks if self.answers(plan) else ():
            price = self._sample_scribe.price(*ask)
            total = None if price is None or total is None else total + price
        return total

    def answers(self, plan: Plan) -> bool:
        """Does the job of the plan ask a text model?"""
        return self.name == "gpt" and bool(plan.asks)

    @functools.cached_property
    def forbidden(self) -> ForbiddenNames:
        """The names that no concept may hold."""
        from models.writers.checks import ForbiddenNames

        return ForbiddenNames.load((self._settings.data_dir or project_folder("data")) / "forbidden_names.toml")

    @functools.cached_property
    def _sample_writer(self) -> Writer | None:
        return None if self.name is None else self.make_writer(Nothing())

    @functools.cached_property
    def _sample_scribe(self) -> Scribe:
        return self.make_scribe(Nothing())

    @functools.cached_property
    def sample_rewriter(self) -> Rewriter:
        """The one that puts refused ideas into other words, to be asked for its name and price."""
        return self.make_gpt(Nothing())

    def check_rewriter(self) -> None:
        """Raise where refused ideas are to be rewritten, and there is nobody who could."""
        if self.name != "gpt" and not self.reachable:
            raise UsageError(
                "--on-refusal rewrite needs the GPT writer, and it cannot be reached: set OPENAI_API_KEY, or "
                "OPENAI_BASE_URL for another endpoint; --on-refusal skip does without."
            )
        rewriter = self.sample_rewriter
        if self.name != "gpt" and not self._quiet:
            console.note(f"What is refused is put into safer words by {rewriter.model}.")

    # --- parts

    def make_writer(self, world: Any) -> Writer:
        """The chosen writer, with ``world`` as its meter, novelty and memory."""
        if self.name == "composer":
            from models.writers.composer import ComposerWriter

            return ComposerWriter(novelty=world.novelty, forbidden=self.forbidden)
        return self.make_gpt(world)

    def make_gpt(self, world: Any) -> Rewriter:
        """The GPT writer; beside another one it only rewrites, with the model that is set now."""
        from models.writers.gpt import GptWriter

        return GptWriter(
            **self._access(world),
            novelty=world.novelty,
            forbidden=self.forbidden,
            batch=self._settings.writer_batch,
            max_in_flight=self._settings.writer_in_flight,
        )

    def make_scribe(self, world: Any, plan: Plan | None = None) -> Scribe:
        """Who answers the questions of a job, with room for the longest answer that its plan expects."""
        from models.writers.scribe import GptScribe

        expected = max((answer for _, answer in plan.asks), default=0) if plan is not None else 0
        return GptScribe(**self._access(world, PATIENCE + expected / SLOW), expected=expected)

    def flagged(self, text: str) -> list[str]:
        """The categories that a moderation model finds in a text; none where there is no such model to be asked.

        Raises ModelError.
        """
        if not self.reachable or self._settings.writer == "composer":
            return []
        scribe = self.make_scribe(Nothing())
        try:
            return scribe.flagged(text)
        except UnsupportedRequest:
            return []
        finally:
            scribe.close()

    def _access(self, world: Any, patience: float = PATIENCE) -> dict[str, Any]:
        return {
            "key": self._settings.value("OPENAI_API_KEY"),
            "base_url": self._settings.openai_base_url,
            "model": self.model_name if self.name == "gpt" else self._settings.writer_model,
            "catalog": self._catalog,
            "meter": world.meter,
            "memory": world.memory,
            "timeout": min(patience, self._settings.request_timeout_seconds),
        }
