"""The errors of the OpenAI stand-in, as the service documents them.

Invariant: every one is JSON with message, type, param and code.
"""

from __future__ import annotations

from typing import Any

from tests.servers.base import Answer, as_json

#: The documented error of a status: type, code and words.
ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "Something in the request is wrong."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    402: ("billing_error", "billing_not_active", "Your account is not active, please check your billing details."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Country or region not supported."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    408: ("timeout_error", None, "Request timed out."),
    413: ("invalid_request_error", None, "The request is too large."),
    409: ("conflict_error", None, "Another request changed the resource."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests. Please try again later."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    502: ("server_error", None, "Bad gateway."),
    503: ("server_error", "server_overloaded", "The engine is currently overloaded, please try again later."),
    504: ("server_error", None, "Gateway timeout."),
}
#: Errors that are picked by their code.
BY_CODE = {
    "insufficient_quota": ("insufficient_quota", "You exceeded your current quota, please check your plan."),
    "billing_hard_limit_reached": ("billing_limit_user_error", "Billing hard limit has been reached."),
    "invalid_image_file": (
        "image_generation_user_error",
        "Invalid image file or mode for image 1, please check your image file.",
    ),
    "moderation_blocked": ("image_generation_user_error", "Your request was rejected by the safety system."),
}


class Problem(Exception):
    """An answer that is an error, on its way out of the validation."""

    def __init__(
        self, message: str, *, code: str | None = None, param: str | None = None, status: int = 400, type_: str = ""
    ) -> None:
        super().__init__(message)
        self.answer = error(message, code=code, param=param, status=status, type_=type_)


def error(
    message: str, *, code: str | None = None, param: str | None = None, status: int = 400, type_: str = ""
) -> Answer:
    body = {"message": message, "type": type_ or "invalid_request_error", "param": param, "code": code}
    return as_json({"error": body}, status, {"x-request-id": "req_standin"})


def documented(status: int, code: str = "") -> Answer:
    """The service's own error for a status; ``code`` picks another one."""
    type_, default_code, message = ERRORS.get(status, ("server_error", None, "Something went wrong."))
    if code:
        type_, message = BY_CODE.get(code, (type_, message))
    return error(message, code=code or default_code, status=status, type_=type_)


def blocked() -> Problem:
    """What the content policy says."""
    type_, message = BY_CODE["moderation_blocked"]
    return Problem(message, code="moderation_blocked", type_=type_)


def invalid(name: str, value: Any, legal: tuple[str, ...]) -> Problem:
    words = ", ".join(f"'{one}'" for one in legal)
    return Problem(f"Invalid value: '{value}'. Supported values are: {words}.", code="invalid_value", param=name)
