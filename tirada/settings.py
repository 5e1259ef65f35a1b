"""The only reader of the environment and of ``.env``; everything else is handed values.

Invariant: every setting has a line in ``.env.example``, and keys are ``SecretStr``, so that no print shows one.
"""

from __future__ import annotations

import base64
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.errors import SetupError
from models.redaction import register
from models.sizes import parse_size


def _blank_is_unset(value: Any) -> Any:
    """``NAME=`` in .env means "not set", as everywhere."""
    return None if isinstance(value, str) and not value.strip() else value


def _is_size(value: str) -> str:
    parse_size(value)
    return value


OptionalText = Annotated[str | None, BeforeValidator(_blank_is_unset)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_blank_is_unset)]
OptionalPath = Annotated[Path | None, BeforeValidator(_blank_is_unset)]


class Settings(BaseSettings):
    """What can be set once instead of typed each time; names are those of the environment, in capitals."""

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore", env_ignore_empty=True)

    openai_api_key: OptionalSecret = Field(None, description="Key for the GPT writer and for --dalle.")
    openai_base_url: OptionalText = Field(
        None, description="Another OpenAI-compatible endpoint, e.g. http://localhost:11434/v1."
    )
    writer: Literal["gpt", "composer"] | None = Field(
        None, description="Who writes the prompts: gpt or composer. Unset: gpt when a key or base URL is set."
    )
    writer_model: OptionalText = Field(None, description="Text model of the GPT writer.")
    writer_batch: int = Field(5, ge=1, le=20, description="Concepts asked for in one call of the GPT writer.")
    writer_in_flight: int = Field(4, ge=1, le=64, description="Calls of the GPT writer under way at once.")
    backend: str = Field("draft", description="Backend used when no flag names one.")
    dalle_model: OptionalText = Field(None, description="Image model of --dalle.")
    openai_images_base_url: OptionalText = Field(
        None, description="Another OpenAI-compatible endpoint for --dalle alone; name its model too (DALLE_MODEL)."
    )
    openai_images_api_key: OptionalSecret = Field(None, description="Key for --dalle, where it is another one.")
    openai_images_free: bool = Field(
        False, description="Images from that endpoint cost nothing, as from a server of your own: true or false."
    )
    stability_api_key: OptionalSecret = Field(None, description="Key for --stability.")
    stability_base_url: OptionalText = Field(None, description="Another address of Stability's service.")
    stability_model: OptionalText = Field(None, description="Model of --stability.")
    bfl_api_key: OptionalSecret = Field(None, description="Key for --flux-api.")
    bfl_base_url: OptionalText = Field(
        None, description="Region or address of --flux-api: eu, us, or a URL. Unset: the global one."
    )
    flux_api_model: OptionalText = Field(None, description="Model of --flux-api.")
    stable_diffusion_url: OptionalText = Field(None, description="Server of --sdapi. Unset: http://127.0.0.1:7860.")
    sdapi_model: OptionalText = Field(None, description="Checkpoint of --sdapi. Unset: the one the server has loaded.")
    stable_diffusion_model: OptionalText = Field(
        None, description="Model of --stable-diffusion: a name, a repository of the hub, a folder or a file."
    )
    flux_model: OptionalText = Field(None, description="Model of --flux, likewise.")
    hf_token: OptionalSecret = Field(None, description="Token for models of the Hugging Face hub that want one.")
    x_bearer_token: OptionalSecret = Field(None, description="Bearer token of X's API, for avatar --x.")
    x_base_url: OptionalText = Field(None, description="Another address of X's API.")
    bluesky_base_url: OptionalText = Field(None, description="Another address of Bluesky's public API.")
    mastodon_base_url: OptionalText = Field(
        None, description="Server that avatar --mastodon asks. Unset: the host of the account."
    )
    images_in_flight: int | None = Field(
        None, ge=1, le=256, description="Images under way at once with a hosted backend. Unset: what it likes."
    )
    size: Annotated[str, AfterValidator(_is_size)] = Field("1024x1024", description="Size used when none is typed.")
    format: Literal["png", "jpeg", "webp"] = Field("png", description="Format of the image files.")
    # Not LANGUAGE, which belongs to gettext: desktops set it to the likes of "en_US:en".
    writer_language: str = Field(
        "en", pattern=r"^[a-z]{2,3}$", description="Language of titles, descriptions and tags, as two letters."
    )
    output_dir: Path = Field(Path("output"), description="Folder that everything is written into.")
    data_dir: OptionalPath = Field(None, description="Folder with roles/. Unset: ./data, or the one that came along.")
    tuning_dir: OptionalPath = Field(None, description="Folder with few-shot examples. Unset: as for DATA_DIR.")
    catalog_file: OptionalPath = Field(None, description="Your own rows for the catalog of models.")
    clip_model: OptionalPath = Field(
        None, description="Folder with a CLIP model: stories then measure how alike their pages are with it too."
    )
    request_timeout_seconds: float = Field(300, gt=0, description="Seconds one request to a service may take.")
    retry_tries: int = Field(4, ge=1, le=20, description="Tries for each image or prompt.")
    retry_wait_seconds: float = Field(1.0, ge=0, description="First wait between tries; doubled each time, jittered.")
    retry_max_wait_seconds: float = Field(60, ge=0, description="Longest wait between tries.")
    retry_max_total_seconds: float = Field(900, ge=0, description="Longest wait for one image or prompt in all.")
    job_wait_seconds: float = Field(600, gt=0, description="How long a job of a service may take, in seconds.")
    budget_usd_per_run: Decimal | None = Field(None, ge=0, description="No run spends more than this.")
    budget_usd_per_month: Decimal | None = Field(
        None, ge=0, description="All runs of an output folder together spend no more in a calendar month (UTC)."
    )
    confirm_above_usd: Decimal = Field(
        Decimal(5),
        ge=0,
        description="A run expected to cost more is asked about; unattended it needs --yes or a budget.",
    )
    min_free_mb: int = Field(100, ge=0, description="Nothing new is made with less free disk than this.")
    save_threads: int = Field(3, ge=1, le=32, description="Threads that encode and save images.")

    def value(self, name: str) -> str | None:
        """A setting by its environment name, as text; also one that only a backend from elsewhere knows."""
        field = name.lower()
        if field in type(self).model_fields:
            found = getattr(self, field)
            if isinstance(found, SecretStr):
                return found.get_secret_value()
            return None if found is None else str(found)
        other = _environment().get(name)
        if name.endswith(("_KEY", "_TOKEN", "_SECRET")):
            register(other)
        return other


def load_settings() -> Settings:
    """Read the environment and ``.env``; raises SetupError naming the setting that is wrong."""
    try:
        settings = Settings()
    except ValidationError as exc:
        first = exc.errors()[0]
        why = first["msg"].removeprefix("Value error, ")
        wrong = f"Setting {str(first['loc'][0]).upper()}: {why} (got {first['input']!r})."
        raise SetupError(wrong, hint="See .env.example.") from None
    except UnicodeDecodeError as exc:
        raise SetupError(f"The file .env is not UTF-8 text: {exc.reason}.", hint="Save it as UTF-8.") from None
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        if isinstance(value, SecretStr):
            register(value.get_secret_value())
        if isinstance(value, str) and field.endswith("_url"):
            register(*_credentials(value))
    return settings


def _credentials(url: str) -> list[str]:
    """What stands before the host of a URL, also of a misspelt one: user:password or a token, and as they are sent."""
    userinfo = re.sub(r"^(\w+:)?/+", "", url.rpartition("@")[0])
    if not userinfo or "/" in userinfo:
        return []
    user, _, password = userinfo.partition(":")
    sent = base64.b64encode(f"{user}:{password}".encode()).decode()
    return [userinfo, password or user, sent]


def _environment() -> dict[str, str]:
    import os

    from dotenv import dotenv_values

    return {**{k: v for k, v in dotenv_values(".env").items() if v}, **os.environ}


def project_folder(name: str) -> Path:
    """Where ``data`` or ``tuning`` lies: here, beside the program, or inside the installed package."""
    package = Path(__file__).parent
    for candidate in (Path(name), package.parent / name, package / name):
        if candidate.is_dir():
            return candidate
    return Path(name)
