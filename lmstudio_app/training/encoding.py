"""A data set as token ids in flat arrays: four bytes a token, and any batch in microseconds."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from lmstudio_app.tasks.task import Setup, Task

_CHUNK = 1000  # rows encoded between two looks at the stop button


class EncodedRows:
    """Features of all examples. A feature of sequences is (values int32 ``[tokens]``, offsets int64 ``[rows + 1]``).

    ``rows`` int64 ``[examples]`` is the row of the data set that each example comes from. ``lengths`` counts its
    tokens, for an encoder-decoder those of both sides.
    """

    def __init__(
        self,
        sequences: dict[str, tuple[np.ndarray, np.ndarray]],
        numbers: dict[str, np.ndarray],
        rows: np.ndarray | None = None,
    ) -> None:
        import numpy as np

        self._sequences = sequences
        self._numbers = numbers
        self.lengths: np.ndarray = np.diff(sequences["input_ids"][1])
        self.rows: np.ndarray = np.arange(len(self.lengths)) if rows is None else rows
        if "labels" in sequences and not np.array_equal(targets := np.diff(sequences["labels"][1]), self.lengths):
            self.lengths = self.lengths + targets

    def __len__(self) -> int:
        return len(self.lengths)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of every token and number: 16 hexadecimal digits."""
        found = hashlib.blake2b(digest_size=8)
        for name, arrays in (*self._sequences.items(), *((name, (array,)) for name, array in self._numbers.items())):
            found.update(name.encode())
            for array in arrays:
                found.update(array.data)
        return found.hexdigest()

    def take(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """The features of these rows, as a task's ``collate`` wants them."""
        features = []
        for row in rows:
            feature: dict[str, Any] = {
                name: values[offsets[row] : offsets[row + 1]] for name, (values, offsets) in self._sequences.items()
            }
            feature |= {name: values[row] for name, values in self._numbers.items()}
            features.append(feature)
        return features


def encode_rows(dataset: Dataset, task: Task, setup: Setup, ctx: JobContext) -> EncodedRows:
    """Run the task's ``encode`` over the whole data set, with progress. Raises :class:`UserError` when it is empty."""
    import numpy as np

    values: dict[str, list[np.ndarray]] = {}
    sizes: dict[str, list[np.ndarray]] = {}
    origins: list[np.ndarray] = []
    starts = range(0, len(dataset), _CHUNK)
    meter = ctx.meter(len(dataset), "rows")
    for start in starts:
        meter.update(start)
        encoded = task.encode(dataset[start : start + _CHUNK], setup)
        count = len(encoded["input_ids"])
        if not count:
            continue
        origins.append(start + np.asarray(encoded.pop("row", np.arange(count)), dtype=np.int64))
        for name, column in encoded.items():
            if hasattr(column[0], "__len__"):
                sizes.setdefault(name, []).append(np.array([len(item) for item in column], dtype=np.int64))
                flat = np.fromiter((token for item in column for token in item), dtype=np.int32)
                values.setdefault(name, []).append(flat)
            else:
                values.setdefault(name, []).append(np.asarray(column))
    meter.update(len(dataset))
    notes = dict(setup.notes)
    setup.notes.clear()
    for sentence, count in notes.items():
        ctx.warn(sentence, count=count)
    if not origins and notes:
        raise UserError(
            "Of {rows} rows none can be used: {reason}", "Mend that, or take other data.",
            rows=len(dataset), reason=" ".join(sentence.format(count=count) for sentence, count in notes.items()),
        )  # fmt: skip
    if not origins:
        raise UserError("The data set holds no rows that can be used.", "Check the column mapping and the file.")
    sequences = {
        name: (np.concatenate(values[name]), np.concatenate([[0], np.cumsum(np.concatenate(parts))]))
        for name, parts in sizes.items()
    }
    numbers = {name: np.concatenate(parts) for name, parts in values.items() if name not in sizes}
    return EncodedRows(sequences, numbers, np.concatenate(origins))
