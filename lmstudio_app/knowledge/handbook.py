"""The knowledge base that everybody has: the app's handbook about language models."""

from __future__ import annotations

from pathlib import Path

from lmstudio_app import settings
from lmstudio_app.assets import resource
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.building import BuildRequest, build_knowledge_base
from lmstudio_app.knowledge.encoder import Encoder
from lmstudio_app.knowledge.store import Store, is_knowledge_base

HANDBOOK = "handbook"  # how it is called where a folder is asked for


def handbook_folder() -> Path:
    return settings.cache_folder() / "knowledge" / HANDBOOK


def ensure_handbook(ctx: JobContext, encoder: Encoder | None = None) -> Path:
    """The folder of the handbook's knowledge base (a job); it is built, or brought up to date, when it has to be.

    Raises :class:`UserError` when the starter encoder is not on disk.
    """
    folder, source = handbook_folder(), resource("handbook", "en")
    if is_knowledge_base(folder):
        store = Store(folder)
        sources, waiting, known = store.sources(), store.count_waiting(), store.states()
        store.close()
        texts = {str(path): path.stat() for path in source.glob("*.md")}
        is_fresh = texts.keys() == known.keys() and all(
            (known[path].size, known[path].mtime) == (status.st_size, status.st_mtime_ns)
            for path, status in texts.items()
        )
        if is_fresh and not waiting and sources == [source]:
            return folder
    else:
        sources = []
    ctx.status("Building the knowledge base of the handbook")
    # an installation that was moved or updated leaves the place of its old one behind
    old = tuple(path for path in sources if path != source)
    build_knowledge_base(BuildRequest(folder, (source,), remove=old), ctx, encoder)
    return folder
