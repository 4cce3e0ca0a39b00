"""What the sampling settings make of a distribution: the ten most probable tokens, before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.try_candidates import share_text

SHOWN = 10
# Zipf's law (1935): the n-th most frequent word is about 1/n as frequent as the first
EXAMPLE = tuple(1 / (rank * sum(1 / n for n in range(1, SHOWN + 1))) for rank in range(1, SHOWN + 1))


def resampled(probabilities: Sequence[float], temperature: float, top_k: int = 0, top_p: float = 1.0) -> list[float]:
    """The probabilities with which tokens are drawn, of tokens in falling order; they sum to 1.

    softmax(log p / temperature), of these the ``top_k`` first (0: all), and of these the fewest that make up ``top_p``
    (Holtzman et al. 2020). At temperature 0 the first one is certain.
    """
    if not probabilities:
        return []
    if temperature <= 0:
        return [1.0] + [0.0] * (len(probabilities) - 1)
    logits = [math.log(max(probability, 1e-30)) / temperature for probability in probabilities]
    kept = [math.exp(logit - logits[0]) if not top_k or rank < top_k else 0.0 for rank, logit in enumerate(logits)]
    total = sum(kept)
    drawn, before = [], 0.0
    for share in kept:
        drawn.append(share / total if before < top_p else 0.0)
        before += share / total
    total = sum(drawn)
    return [share / total for share in drawn]


class DistributionPicture(QWidget):
    """A bar a token: faint as the model gives it, filled as it is drawn."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._tokens: list[str] = []
        self._given: list[float] = list(EXAMPLE)
        self._drawn: list[float] = list(EXAMPLE)
        self._settings: tuple[float, int, float] = (1.0, 0, 1.0)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._describe()

    @property
    def drawn(self) -> list[float]:
        return list(self._drawn)

    @property
    def tokens(self) -> list[str]:
        return list(self._tokens)

    def set_candidates(self, tokens: Sequence[str], probabilities: Sequence[float]) -> None:
        """Show the candidates of a place in a reply, the most probable first; none: an example."""
        self._tokens = list(tokens[:SHOWN])
        self._given = list(probabilities[:SHOWN]) if tokens else list(EXAMPLE)
        total = sum(self._given) or 1.0
        self._given = [probability / total for probability in self._given]
        self.set_sampling(*self._settings)

    def set_sampling(self, temperature: float, top_k: int, top_p: float) -> None:
        self._settings = (temperature, top_k, top_p)
        self._drawn = resampled(self._given, temperature, top_k, top_p)
        self._describe()
        self.update()

    def _describe(self) -> None:
        parts = [f"{self._label(row)} {share_text(share)}" for row, share in enumerate(self._drawn) if share > 0]
        self.setAccessibleName(
            self.tr("How probable each token is to be drawn: {shares}").format(shares=", ".join(parts))
        )
        self.setToolTip(
            self.tr(
                "The ten most probable tokens of one place. Faint: as the model gives them. Filled: as they are drawn "
                "with these settings."
            )
        )

    def _label(self, row: int) -> str:
        return self._tokens[row] if row < len(self._tokens) else self.tr("{rank}.").format(rank=row + 1)

    def sizeHint(self) -> QSize:
        return QSize(theme.characters(self, 30), round(SHOWN * self._line()))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.characters(self, 18), round(SHOWN * self._line()))

    def _line(self) -> float:
        return theme.em(self, 0.95)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette = self.palette()
        font = QFont(self.font())
        font.setPointSizeF(font.pointSizeF() * 0.82)
        painter.setFont(font)
        metrics = QFontMetricsF(font)
        names = min(
            self.width() * 0.35,
            max(metrics.horizontalAdvance(self._label(row)) for row in range(len(self._given))) + 1,
        )
        gap = theme.em(self, 0.4)
        numbers = metrics.horizontalAdvance("100.0 %")
        track = max(1.0, self.width() - names - numbers - 2 * gap)
        largest = max(max(self._given), max(self._drawn), 1e-9)
        line = self._line()
        for row, (given, drawn) in enumerate(zip(self._given, self._drawn, strict=True)):
            top = row * line
            painter.setPen(palette.text().color() if drawn > 0 else theme.muted(palette))
            name = metrics.elidedText(self._label(row), Qt.TextElideMode.ElideRight, names)
            centred = Qt.AlignmentFlag.AlignVCenter
            painter.drawText(QRectF(0, top, names, line), int(Qt.AlignmentFlag.AlignRight | centred), name)
            painter.drawText(
                QRectF(self.width() - numbers, top, numbers, line),
                int(Qt.AlignmentFlag.AlignRight | centred),
                share_text(drawn) if drawn > 0 else "–",
            )
            painter.setPen(Qt.PenStyle.NoPen)
            bar = QRectF(names + gap, top + line * 0.2, track * given / largest, line * 0.6)
            painter.setBrush(theme.blend(palette.highlight().color(), palette.base().color(), 0.25))
            painter.drawRect(bar)
            painter.setBrush(palette.highlight())
            painter.drawRect(QRectF(bar.left(), top + line * 0.35, track * drawn / largest, line * 0.3))
