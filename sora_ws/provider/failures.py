"""From a provider's reason to a `Failure` of ours, and to words that people may see. Pure."""

from __future__ import annotations

import re
from typing import Final

from sora_ws.provider.answers import Reason
from sora_ws.task import Failure, FailureCode

DETAILS_MAX: Final = 500

BLOCKED_CODES: Final = frozenset(
    {
        "moderation_blocked",
        "sentinel_block",
        "content_policy_violation",
        "content_filter",
        "input_moderation",
        "output_moderation",
        "prompt_unsafe",
        "image_unsafe",
        "video_unsafe",
        "451",
    }
)
BLOCKED_WORDS: Final = re.compile(
    r"moderation|content policy|safety system|sensitive (information|content)|responsible ai"
    r"|raiMediaFiltered|prohibited|copyright",
    re.IGNORECASE,
)
OPERATOR_WORDS: Final = re.compile(r"insufficient_\w*quota|billing|no connected db", re.IGNORECASE)
ENCODING_WORDS: Final = re.compile(
    r"json|multipart|content[- ]type|\bform\b|\bbody\b"
    r"|prompt\W.*\b(missing|required|none|null)|\b(missing|required)\b.*\bprompt\b",
    re.IGNORECASE | re.DOTALL,
)
AT_FAULT: Final = range(400, 423)


def of_job(reason: Reason, key: str | None) -> Failure:
    """Why a job failed, by what the job itself says."""
    details = cleaned(reason.message, key)
    if is_blocked(reason):
        return Failure(FailureCode.MODERATION_BLOCKED, details, retryable=False)
    if any(code.isascii() and code.isdigit() and int(code[:9]) in AT_FAULT for code in reason.codes):
        return Failure(FailureCode.PROVIDER_REJECTED, details, retryable=False)
    return Failure(FailureCode.GENERATION_FAILED, details, retryable=True)


def of_refusal(status: int, reason: Reason, key: str | None) -> Failure:
    """Why a create was answered with the HTTP `status` of a refusal."""
    details = cleaned(reason.message, key) or f"HTTP {status}"
    if status == 451 or is_blocked(reason):
        return Failure(FailureCode.MODERATION_BLOCKED, details, retryable=False)
    is_mendable = status in (401, 402, 403) or needs_operator(reason)
    return Failure(FailureCode.PROVIDER_REJECTED, details, retryable=is_mendable)


def lost(details: str | None) -> Failure:
    """The provider has the job no longer."""
    return Failure(FailureCode.PROVIDER_LOST_TASK, details, retryable=True)


def is_blocked(reason: Reason) -> bool:
    """Whether the content was refused, not the request."""
    return not BLOCKED_CODES.isdisjoint(reason.codes) or bool(BLOCKED_WORDS.search(reason.message))


def needs_operator(reason: Reason) -> bool:
    """Whether somebody has to pay, or to set a key, before this can work."""
    return any(OPERATOR_WORDS.search(text) for text in (*reason.codes, reason.message))


def is_about_encoding(status: int, reason: Reason) -> bool:
    """Whether a create may have been refused for being a form, or for being JSON."""
    if status == 415:
        return True
    return status in (400, 422) and not is_blocked(reason) and bool(ENCODING_WORDS.search(reason.message))


def cleaned(text: str, key: str | None) -> str | None:
    """`text` without secrets and wrappings, on one line and not too long; None where nothing is left."""
    if key:
        text = text.replace(key, "…")
    text = re.sub(r"\n+LiteLLM: .*\Z", "", text, flags=re.DOTALL)
    text = re.sub(r"\blitellm\.\w+:\s*", "", text)
    text = re.sub(r"\b(sk-|Bearer\s+)[\w*.~+/=-]{4,}", r"\1…", text)
    text = re.sub(r"(https?://)[^\s/@\"'<>]+@", r"\1", text)
    text = re.sub(r"(https?://[^\s?#\"'<>]+)[?#][^\s\"'<>]*", r"\1", text)
    text = "".join(char if char.isprintable() else " " for char in text)
    text = " ".join(text.split())
    if len(text) > DETAILS_MAX:
        text = f"{text[: DETAILS_MAX - 1]}…"
    return text or None
