"""The access token for gated and private models. It lies in the system's keyring, and nowhere else.

``HF_TOKEN`` in the environment comes first, then the keyring, then what `hf auth login` of huggingface_hub has kept. A
token in the keyring belongs to one hub, so that a mirror (``HF_ENDPOINT``) is not given the token of another.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.hub_client import endpoint, explain, hub_api, require_network
from lmstudio_app.models.transfer import Line, call_beside
from lmstudio_app.settings import network_allowed

SERVICE = "lmstudio-app"
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenState:
    """Where the token that is sent comes from; never the token.

    ``source``: ``environment``, ``keyring``, ``file`` (of `hf auth login`), or empty when there is none. ``keyring``:
    the name of the system's keyring, empty when there is none.
    """

    source: str
    keyring: str
    host: str


def hub_host() -> str:
    """The hub that a token belongs to, as it is called in the keyring."""
    return urlsplit(endpoint()).netloc


def find_token() -> str | None:
    """The token to send to the hub. It may wait for the keyring to be unlocked: call it beside a job.

    A keyring that cannot be read counts as empty (and is logged), since most models need no token.
    """
    from huggingface_hub import constants, get_token

    if token := _from_environment():
        return token
    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return None
    return _from_keyring() or get_token()


def read_token_state(_: None, ctx: JobContext) -> TokenState:
    """:func:`token_state` as a job."""
    return token_state()


def log_in(token: str, ctx: JobContext) -> str:
    """Check the token with the hub and put it into the keyring (a job); returns the account's name.

    Where the network is switched off it is kept unchecked, and the name is empty. Raises as :func:`check_token` and
    :func:`save_token`; then nothing is kept.
    """
    require_keyring()
    if not token.strip():
        raise UserError("No access token came.", "Give one.")
    name = check_token(token.strip(), ctx) if network_allowed() else ""
    save_token(token)
    return name


def log_out(_: None, ctx: JobContext) -> bool:
    """:func:`delete_token` as a job."""
    return delete_token()


def token_state() -> TokenState:
    """What a person may know about the token. Asks the keyring: call it in a job."""
    from huggingface_hub import get_token

    backend = _backend()
    source = "environment" if _from_environment() else "keyring" if _from_keyring() else "file" if get_token() else ""
    return TokenState(source, str(backend.name) if backend else "", hub_host())


def save_token(token: str) -> None:
    """Put the token for :func:`hub_host` into the keyring. Raises :class:`UserError`, which does not show it."""
    import keyring.errors

    token = token.strip()
    if not token or any(not 32 < ord(character) < 127 for character in token):
        raise UserError(
            "This is no access token: it is empty, or has characters that no token has.",
            "Make a token with read access at {page} and give it as it is there.",
            page=f"{endpoint()}/settings/tokens",
        )
    backend = require_keyring()
    try:
        backend.set_password(SERVICE, hub_host(), token)
    except keyring.errors.KeyringError as error:
        raise _refused(error) from None  # the keyring's own error may show what it was given


def delete_token() -> bool:
    """Take the token out of the keyring; False when there was none. Raises :class:`UserError` without a keyring."""
    import keyring.errors

    backend = require_keyring()
    try:
        if backend.get_password(SERVICE, hub_host()) is None:
            return False
        backend.delete_password(SERVICE, hub_host())
    except keyring.errors.KeyringError as error:
        raise _refused(error) from None
    return True


def check_token(token: str | None, ctx: JobContext) -> str:
    """Ask the hub who ``token`` stands for, or the one that is kept when it is None (a job); returns the name.

    Raises :class:`UserError` when there is none, when the hub refuses it, or when the network is not allowed.
    """
    require_network()

    def _ask(line: Line) -> str:
        sent = token or find_token()
        if sent is None:
            raise UserError(
                "There is no access token for {host}.",
                "Give one on the Model page, with `lmstudio-app models login`, or in the variable HF_TOKEN.",
                host=hub_host(),
            )
        try:
            return str(hub_api(sent).whoami(token=sent).get("name") or "")
        except Exception as error:
            if getattr(getattr(error, "response", None), "status_code", None) == 401:
                raise UserError(
                    "{host} does not accept the access token.",
                    "Make a new one at {page} and give that.",
                    host=hub_host(),
                    page=f"{endpoint()}/settings/tokens",
                ) from None
            raise explain(error, hub_host()) from error

    return call_beside(ctx, _ask)


def _from_environment() -> str:
    return next((value for name in _VARIABLES if (value := os.environ.get(name, "").strip())), "")


def _from_keyring() -> str | None:
    import keyring.errors

    backend = _backend()
    if backend is None:
        return None
    try:
        found: str | None = backend.get_password(SERVICE, hub_host())
    except keyring.errors.KeyringError as error:
        _log.warning("the keyring %s cannot be read: %s", backend.name, type(error).__name__)
        return None
    return found


def _backend() -> Any:
    """The system's keyring; None where there is none, or only one that would write the token into a plain file."""
    import keyring

    backend = keyring.get_keyring()
    kept = [part for part in getattr(backend, "backends", [backend]) if not _is_no_keyring(part)]
    return kept[0] if kept else None


def _is_no_keyring(backend: Any) -> bool:
    module = type(backend).__module__
    return module in ("keyring.backends.fail", "keyring.backends.null") or "Plaintext" in type(backend).__name__


def require_keyring() -> Any:
    """The system's keyring. Raises :class:`UserError` when there is none that keeps a secret."""
    backend = _backend()
    if backend is None:
        raise UserError(
            "This system has no keyring in which an access token could be kept.",
            "Install one (on Linux GNOME Keyring or KWallet), or set the variable HF_TOKEN before you start the "
            "application.",
        )
    return backend


def _refused(error: Exception) -> UserError:
    return UserError(
        "The keyring of this system refuses ({reason}).",
        "Unlock it and try again, or set the variable HF_TOKEN before you start the application.",
        reason=type(error).__name__,
    )
