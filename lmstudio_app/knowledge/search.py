"""Finding passages by their words (BM25) and by their meaning (cosine), fused by their ranks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.encoder import Encoder, EncoderIdentity, load_encoder
from lmstudio_app.knowledge.store import Store, StoredFile
from lmstudio_app.models.references import is_present

if TYPE_CHECKING:
    import numpy as np

CANDIDATES = 50  # of each of the two ways of finding
RANK_CONSTANT = 60  # of Cormack et al.
_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class FoundPassage:
    """A passage and where it stands: characters ``start`` to ``end`` of the text that was taken out of ``file``.

    ``score`` is what it was ranked by; ``similarity`` the cosine to the question (None while it has no vector yet);
    ``bm25`` what its words say (0 where none of the question's is in it). ``page`` begins at 1.
    """

    file: str
    start: int
    end: int
    text: str
    heading: str
    page: int | None
    score: float
    similarity: float | None
    bm25: float


class KnowledgeBase:
    """An open knowledge base, for any thread; changes that a build makes meanwhile are seen. Close it in the end.

    ``encoder`` is one that is loaded already, or None: the one it was built with, loaded when it is first needed.
    Raises :class:`UserError` when there is none in ``folder``.
    """

    def __init__(self, folder: Path, encoder: Encoder | None = None, device: str = "auto") -> None:
        self.folder = folder
        self._store = Store(folder)
        self._encoder = encoder
        self._device = device
        self._lock = threading.RLock()
        self._version: int | None = None
        self._vectors: Any = None
        self._owners: Any = None

    def __enter__(self) -> KnowledgeBase:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._vectors = self._owners = self._version = None
            self._store.close()

    @property
    def identity(self) -> EncoderIdentity:
        """The encoder that it was built with."""
        with self._lock:
            stored = self._store.fact("encoder")
        if stored is None:
            raise UserError(
                "The knowledge base in {folder} is not built yet.", "Build it first.", folder=str(self.folder)
            )
        return EncoderIdentity(**stored)

    def files(self) -> list[StoredFile]:
        with self._lock:
            return self._store.files()

    def sources(self) -> list[Path]:
        with self._lock:
            return self._store.sources()

    def count_passages(self) -> int:
        with self._lock:
            return self._store.count_passages()

    def count_waiting(self) -> int:
        """Passages that are not embedded yet: a build is running, or was interrupted."""
        with self._lock:
            return self._store.count_waiting()

    def text(self, file: str) -> str | None:
        """The text that was taken out of a file, for showing a passage in its place."""
        with self._lock:
            return self._store.text(file)

    def encoder(self, ctx: JobContext) -> Encoder:
        """The encoder for questions. Raises :class:`UserError` when it is not the one that made the vectors."""
        identity = self.identity
        if self._encoder is None:
            if not is_present(identity.reference):
                raise UserError(
                    "The knowledge base was built with the encoder {title}, which is not on this computer.",
                    "Get {reference} again, or build the knowledge base anew with another encoder.",
                    title=identity.title,
                    reference=identity.reference,
                )
            self._encoder = load_encoder(identity.reference, ctx, self._device)
        if self._encoder.identity.fingerprint != identity.fingerprint:
            raise UserError(
                "The vectors of {folder} are of {old}, which is not {new}.",
                "Choose the same encoder, or build the knowledge base again with the new one.",
                folder=str(self.folder),
                old=identity.title,
                new=self._encoder.identity.title,
            )
        return self._encoder

    def search(self, question: str, ctx: JobContext, top: int = 5) -> list[FoundPassage]:
        """The ``top`` best passages for a question, the best first."""
        return self.search_all([question], ctx, top)[0]

    def search_all(self, questions: Sequence[str], ctx: JobContext, top: int = 5) -> list[list[FoundPassage]]:
        """The same for many questions, which go through the encoder together."""
        vectors = self.encoder(ctx).embed(questions, ctx)
        found = []
        for question, vector in zip(questions, vectors, strict=True):
            ctx.check()
            found.append(self.rank(question, vector, ctx, top) if question.strip() else [])
        return found

    def rank(self, question: str, vector: np.ndarray, ctx: JobContext, top: int) -> list[FoundPassage]:
        """The same for a question whose vector (of length 1) is there already.

        The score is the sum over both ways of finding of 1 / (60 + rank) (Cormack et al., 2009), so that neither needs
        to be scaled to the other; of equal ones the more similar comes first.
        """
        import numpy as np

        with self._lock:
            self._refresh()
            ctx.check()
            owners = self._owners
            similarities = self._similarities(vector, ctx)
            count = min(max(CANDIDATES, top), len(owners))
            slots = np.argpartition(-similarities, count - 1)[:count] if count else np.zeros(0, dtype=np.int64)
            slots = slots[np.argsort(-similarities[slots], kind="stable")]
            by_meaning = [int(owners[slot]) for slot in slots if owners[slot] >= 0]
            by_words = dict(self._store.search_words(question, max(CANDIDATES, top)))
            scores: dict[int, float] = {}
            for ranked in (by_meaning, list(by_words)):
                for rank, identifier in enumerate(ranked, 1):
                    scores[identifier] = scores.get(identifier, 0.0) + 1 / (RANK_CONSTANT + rank)
            stored = self._store.passages(list(scores))
        found = []
        for identifier, (file, place, text, slot) in stored.items():
            is_known = slot is not None and slot < len(owners) and owners[slot] == identifier
            similarity = float(similarities[slot]) if is_known else None
            found.append(
                FoundPassage(
                    file, place.start, place.end, text, place.heading, place.page, scores[identifier], similarity,
                    by_words.get(identifier, 0.0),
                )
            )  # fmt: skip
        found.sort(key=lambda item: (-item.score, -(item.similarity or 0.0), item.file, item.start))
        return found[:top]

    def _refresh(self) -> None:
        """Map the vectors anew when a build has changed something."""
        version = self._store.version
        if self._vectors is None or version != self._version:
            self._vectors, self._owners = self._store.vectors(self.identity.dimension)
            self._version = version

    def _similarities(self, vector: np.ndarray, ctx: JobContext) -> np.ndarray:
        """float32 ``[slots]``, -inf where a slot is nobody's."""
        import numpy as np

        found = np.empty(len(self._owners), dtype=np.float32)
        for start in range(0, len(found), _ROWS_AT_ONCE):
            ctx.check()
            np.dot(self._vectors[start : start + _ROWS_AT_ONCE], vector, out=found[start : start + _ROWS_AT_ONCE])
        found[self._owners < 0] = -np.inf
        return found
