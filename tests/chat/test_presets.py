from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmstudio_app.chat.presets import (
    PRESETS,
    Preset,
    delete_preset,
    find_preset,
    presets_file,
    read_presets,
    save_preset,
)
from lmstudio_app.errors import UserError
from lmstudio_app.tasks.replying import ReplyOptions

MINE = Preset("Mine", "For me.", ReplyOptions(temperature=0.3, system="Be brief."))


def test_own_presets_are_kept_beside_those_of_the_app(app_home: Path) -> None:
    assert [preset.name for preset in read_presets()] == ["Precise", "Balanced", "Creative"]
    save_preset(MINE)
    save_preset(Preset("another", "x"))
    assert [preset.name for preset in read_presets()[3:]] == ["another", "Mine"]
    assert find_preset(" mine ") == MINE
    save_preset(Preset("MINE", "Changed.", ReplyOptions(top_k=5)))
    assert [preset.help for preset in read_presets()[3:]] == ["x", "Changed."]
    assert delete_preset("mine").options.top_k == 5
    assert [preset.name for preset in read_presets()[3:]] == ["another"]


def test_the_apps_own_are_sentences_and_stay(app_home: Path) -> None:
    for preset in PRESETS:
        assert preset.help.endswith(".")
        with pytest.raises(UserError, match="one of the app's own"):
            save_preset(Preset(preset.name.lower(), "x"))
        with pytest.raises(UserError, match="one of the app's own"):
            delete_preset(preset.name)
    assert PRESETS[0].options.temperature < PRESETS[1].options.temperature < PRESETS[2].options.temperature


def test_what_is_wrong_is_told(app_home: Path) -> None:
    with pytest.raises(UserError, match="There is no preset Nobody"):
        find_preset("Nobody")
    with pytest.raises(UserError, match="no name"):
        save_preset(Preset("  ", "x"))
    presets_file().parent.mkdir(parents=True, exist_ok=True)
    for text in ("{", "[]", '{"version": 1, "presets": [{"name": "x", "options": {"top_k": "many"}}]}'):
        presets_file().write_text(text)
        with pytest.raises(UserError, match="cannot be read"):
            read_presets()
        assert presets_file().read_text() == text
    presets_file().write_text(json.dumps({"version": 99, "presets": []}))
    with pytest.raises(UserError, match="newer version"):
        read_presets()
