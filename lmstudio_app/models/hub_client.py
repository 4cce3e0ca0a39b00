"""How the hub is asked: its address, what is sent along, how long it may keep silent, and what its refusals mean."""

from __future__ import annotations

import email.utils
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from lmstudio_app import __version__
from lmstudio_app.errors import UserError
from lmstudio_app.models.transfer import Line, SourceError
from lmstudio_app.settings import network_allowed

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

T = TypeVar("T")
LIBRARY: dict[str, Any] = {"library_name": "lmstudio-app", "library_version": __version__}
TOKEN = "token"  # what an error's parameter ``needs`` says where an access token may help
LONGEST_WAIT = 60.0  # seconds that a busy hub may ask for before the user is asked instead
_PATIENCE = 3  # such waits in a row


def endpoint() -> str:
    """The hub's address: ``$HF_ENDPOINT`` as it is now, or huggingface_hub's own."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT


def timeout() -> float:
    """Seconds without a byte after which a connection counts as cut (``$HF_HUB_DOWNLOAD_TIMEOUT``)."""
    from huggingface_hub import constants

    return float(constants.HF_HUB_DOWNLOAD_TIMEOUT)


def require_network() -> None:
    """Raises :class:`UserError` unless the user's settings and environment allow the network."""
    if not network_allowed():
        raise UserError(
            "The network is switched off for this application.",
            "Allow it in the settings (network.allowed), or unset HF_HUB_OFFLINE.",
        )


def hub_api(token: str | None) -> Any:
    """A ``huggingface_hub.HfApi`` for the hub that :func:`endpoint` names."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint(), token=token, **LIBRARY)


def hub_headers(token: str | None) -> dict[str, str]:
    """The headers of a request to the hub. httpx leaves the token out where the hub redirects to another host."""
    from huggingface_hub.utils._headers import build_hf_headers

    return dict(build_hf_headers(token=token, **LIBRARY))


def patiently(line: Line, call: Callable[[], T]) -> T:
    """``call()``, made again when the hub is busy and says for how long (HTTP 429 or 503 with ``Retry-After``)."""
    from huggingface_hub.errors import HfHubHTTPError

    for tries in range(_PATIENCE + 1):
        try:
            return call()
        except HfHubHTTPError as error:
            wait = retry_after(error)
            if error.response.status_code not in (429, 503) or wait is None or wait > LONGEST_WAIT:
                raise
            if tries == _PATIENCE:
                raise
            line.pause(wait)
    raise AssertionError("the last try returns or raises")


def retry_after(error: HfHubHTTPError) -> float | None:
    """Seconds that the hub asks to wait: ``Retry-After`` as a number or a date (RFC 9110, 10.2.3)."""
    text = error.response.headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def is_of_the_disk(error: Exception) -> bool:
    """Did a file refuse? The network's errors are httpx2's, and the hub's answers only look like ``OSError``."""
    from huggingface_hub.errors import HfHubHTTPError

    return isinstance(error, OSError) and not isinstance(error, HfHubHTTPError)


def explain(error: Exception, repo_id: str) -> Exception:
    """A sentence and a remedy for what huggingface_hub or the network raised; another exception as it is."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return SourceError(
            "The hub is switched off by HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE.",
            "Unset the variable and start the application again.",
        )
    if isinstance(error, HFValidationError):
        return SourceError("{repo} is no valid hub id.", "A hub id is organisation/name.", repo=repo_id)
    if isinstance(error, HfHubHTTPError):
        return _explain_answer(error, repo_id)
    if isinstance(error, httpx2.HTTPError):
        return SourceError(
            "The hub at {host} cannot be reached ({reason}).",
            "Check the network and the proxy. A download goes on where it ended. HF_ENDPOINT can name a mirror.",
            host=endpoint(),
            reason=str(error) or type(error).__name__,
        )
    return error


def _explain_answer(error: HfHubHTTPError, repo_id: str) -> SourceError:
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RevisionNotFoundError

    status = error.response.status_code
    page = f"{endpoint()}/{repo_id}"
    if isinstance(error, GatedRepoError):
        return SourceError(
            "{repo} is gated: its authors give it only to those who have accepted their terms.",
            "Accept the terms at {page}, then log in with an access token (on the Model page, or by "
            "`lmstudio-app models login`).",
            repo=repo_id,
            page=page,
            needs=TOKEN,
        )
    if status == 401 and "Authorization" in error.response.request.headers:
        return SourceError(
            "The hub does not accept the access token, or {repo} does not exist.",
            "Check the name; else make a new token and give it on the Model page or to `lmstudio-app models login` (or "
            "set HF_TOKEN anew).",
            repo=repo_id,
            needs=TOKEN,
        )
    if status == 401:
        return SourceError(
            "The hub does not give out {repo} to somebody unknown: it is private, or does not exist.",
            "Check the name; for a private model log in with an access token (on the Model page, or by "
            "`lmstudio-app models login`).",
            repo=repo_id,
            needs=TOKEN,
        )
    if status == 403:
        return SourceError(
            "The hub does not give out {repo} to this account.",
            "Ask its owners for access, or log in with a token that may read it (on the Model page, or by "
            "`lmstudio-app models login`).",
            repo=repo_id,
            page=page,
            needs=TOKEN,
        )
    if isinstance(error, EntryNotFoundError | RevisionNotFoundError):
        return SourceError(
            "A file or version of {repo} is not on the hub any more.", "Start the download again.", repo=repo_id
        )
    if status == 404:
        return SourceError(
            "The hub has no model {repo}.", "Check the spelling: a hub id is organisation/name.", repo=repo_id
        )
    if status == 429:
        wait = retry_after(error)
        return SourceError(
            "The hub is asked too often from here.",
            "Wait {seconds} s and start again; who is logged in may ask more often." if wait is not None
            else "Wait some minutes and start again; who is logged in may ask more often.",
            seconds=f"{wait or 0:.0f}",
        )  # fmt: skip
    return SourceError(
        "The hub answers with an error (HTTP {status}).", "Try again later.", status=status, repo=repo_id
    )
