"""Which sentences of a text support those of its summary."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmstudio_app.errors import Cancelled
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.tasks.embedding import Embedder
from lmstudio_app.tasks.summary_support import MOST_SOURCES, Support, find_support

TEXT = (
    "The town council met on Tuesday evening to talk about the old bridge. Engineers had reported in spring that its "
    "pillars are worn. Closing it would force buses to take a way of six kilometres.\n\nThe council decided to repair "
    "the pillars next summer. The repair will cost 2 million, half of which the state will pay."
)


def named(support: Support, summary: str) -> list[tuple[str, list[str], bool]]:
    return [
        (summary[item.start : item.end], [TEXT[source.start : source.end] for source in item.sources], item.supported)
        for item in support.sentences
    ]


def test_sentences_are_supported_by_those_they_were_drawn_from() -> None:
    summary = "The pillars of the bridge are worn. The state pays half of the repairs. Penguins cannot fly in winter."
    support = find_support(TEXT, summary, JobContext())
    assert support.method == "words"
    worn, state, penguins = named(support, summary)
    assert worn[0] == "The pillars of the bridge are worn."
    assert worn[1][0].startswith("Engineers had reported")
    assert state[1][0].startswith("The repair will cost")
    assert (worn[2], state[2], penguins[2]) == (True, True, False)
    assert support.unsupported == 1
    assert all(0 <= source.score <= 1 for item in support.sentences for source in item.sources)


def test_a_sentence_from_two_sentences_names_both() -> None:
    summary = "Engineers reported that the pillars are worn, and buses would take a way of six kilometres."
    (item,) = find_support(TEXT, summary, JobContext()).sentences
    found = [TEXT[source.start : source.end] for source in item.sources]
    assert len(found) <= MOST_SOURCES
    assert {text.split()[0] for text in found} >= {"Engineers", "Closing"}
    assert item.score > max(source.score for source in item.sources)
    assert item.supported


def test_numbers_and_names_that_are_made_up_are_named() -> None:
    summary = "The repair will cost 3 million, half of which the state will pay. Mayor Smith met the council."
    cost, mayor = find_support(TEXT, summary, JobContext()).sentences
    assert (cost.unknown, cost.supported) == (("3",), False)
    assert cost.score > 0.8
    assert mayor.unknown == ("Smith",)


def test_texts_without_sentences_and_other_scripts() -> None:
    assert find_support("", "A dog runs.", JobContext()).sentences[0].sources == ()
    assert find_support(TEXT, " ", JobContext()).sentences == ()
    text, summary = "市议会讨论了那座旧桥。我们喝茶。", "议会讨论旧桥。"
    (item,) = find_support(text, summary, JobContext()).sentences
    assert text[item.sources[0].start : item.sources[0].end] == "市议会讨论了那座旧桥。"
    assert item.supported


def test_a_heading_supports_nothing_where_there_are_sentences() -> None:
    text = "The old bridge\n\nEngineers had reported in spring that the pillars of the bridge are worn."
    (item,) = find_support(text, "The old bridge has worn pillars.", JobContext()).sentences
    assert [text[source.start : source.end].split()[0] for source in item.sources] == ["Engineers"]
    assert find_support("The bridge.", "The bridge.", JobContext()).sentences[0].supported


def test_it_can_be_cancelled() -> None:
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        find_support(TEXT, "The bridge.", JobContext(control=control))


def test_by_meaning_it_finds_what_is_said_in_other_words(starter_encoder: Path) -> None:
    embedder = Embedder(load_model(LoadRequest(str(starter_encoder), head="base", device="cpu"), JobContext()))
    summary = "The council talked about the bridge. Penguins cannot fly in winter."
    support = find_support(TEXT, summary, JobContext(), embedder.embed)
    assert support.method == "meaning"
    first, second = named(support, summary)
    assert first[1][0].startswith("The town council met")
    assert (first[2], second[2]) == (True, False)
