"""The knowledge base that is asked now, kept open with its encoder from one question to the next."""

from __future__ import annotations

import threading
from pathlib import Path

from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.encoder import Encoder
from lmstudio_app.knowledge.search import KnowledgeBase
from lmstudio_app.knowledge.store import is_knowledge_base


class Desk:
    """One at a time, for one thread that asks; any thread may :meth:`close` it, when a base is to be moved or deleted.

    An encoder stays in memory for the next knowledge base that was built with it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._base: KnowledgeBase | None = None
        self._encoder: Encoder | None = None

    def open(self, folder: Path, ctx: JobContext) -> KnowledgeBase:
        """The knowledge base in ``folder`` with its encoder loaded. Do not close it.

        Raises :class:`UserError` when there is none, when it is not built, and when its encoder cannot be had.
        """
        with self._lock:
            base, self._base = self._base, None
            if base is not None and (base.folder != folder or not is_knowledge_base(folder)):
                base.close()
                base = None
            base = base or KnowledgeBase(folder, self._encoder)
            try:
                wanted = base.identity.fingerprint
                if self._encoder is None or self._encoder.identity.fingerprint != wanted:
                    base.close()
                    base = KnowledgeBase(folder)  # loads the one that it was built with
                self._encoder = base.encoder(ctx)
            except BaseException:
                base.close()
                raise
            self._base = base
            return base

    def close(self) -> None:
        with self._lock:
            base, self._base = self._base, None
            if base is not None:
                base.close()
