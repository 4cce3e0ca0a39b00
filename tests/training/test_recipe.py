from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lmstudio_app.assets import resource
from lmstudio_app.errors import UserError
from lmstudio_app.training.recipe import Recipe, TrainingConfig

MINIMAL = {"task": "sentiment", "model": "starter:encoder", "data": {"train": "uci-sentiment"}}


def test_a_recipe_survives_its_yaml_file(tmp_path: Path) -> None:
    recipe = Recipe.from_dict({**MINIMAL, "training": {"learning_rate": "3e-5", "epochs": 1}})
    recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml") == recipe
    assert recipe.training.learning_rate == 3e-5
    assert isinstance(recipe.training.epochs, float)


def test_set_changes_nested_keys(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    recipe = Recipe.load(path, ["training.epochs=0.5", "strategy.name=frozen_backbone", "data.eval_fraction=0.2"])
    assert recipe.training.epochs == 0.5
    assert recipe.strategy.name == "frozen_backbone"
    assert recipe.data.eval_fraction == 0.2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modle": "x"}, ("modle", "model")),
        ({"training": {"learnig_rate": 1}}, ("training.learnig_rate", "training.learning_rate")),
        ({"training": {"batch_size": 0}}, ("training.batch_size", "at least 1")),
        ({"training": {"batch_size": 2.5}}, ("training.batch_size", "whole number")),
        ({"training": {"batch_size": "many"}}, ("training.batch_size", "number")),
        ({"training": {"learning_rate": None}}, ("training.learning_rate", "number")),
        ({"training": {"group_by_length": "maybe"}}, ("training.group_by_length", "true or false")),
        ({"training": {"precision": "fp8"}}, ("training.precision", "float32")),
        ({"training": 3}, ("training", "keys")),
        ({"strategy": {"name": "magic"}}, ("strategy.name", "full")),
        ({"task": "singing"}, ("singing", "sentiment")),
        ({"data": {}}, ("data.train",)),
    ],
)
def test_a_wrong_key_or_value_is_named_with_a_remedy(change: dict[str, object], words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        Recipe.from_dict({**MINIMAL, **change})
    for word in words:
        assert word in caught.value.one_line()
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["task: [unclosed", "- a\n- b\n", ""])
def test_a_file_that_is_no_recipe_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="recipe"):
        Recipe.load(path)


def test_a_missing_file_and_a_bad_override_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no recipe file"):
        Recipe.load(tmp_path / "none.yaml")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(MINIMAL))
    with pytest.raises(UserError, match="key=value"):
        Recipe.load(tmp_path / "recipe.yaml", ["training.epochs"])


def test_every_field_of_the_form_has_a_title_and_help() -> None:
    import dataclasses

    for item in dataclasses.fields(TrainingConfig):
        assert item.metadata["title"]
        assert item.metadata["help"].endswith(".")


def test_the_bundled_recipes_are_valid() -> None:
    paths = sorted(resource("recipes").glob("*.yaml"))
    assert paths
    for path in paths:
        assert Recipe.load(path).task


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\na,0\nb,1\n")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**MINIMAL, "data": {"train": ["rows.csv"], "eval": "uci-imdb"}}))
    recipe = Recipe.load(path)
    assert recipe.data.train == [str(tmp_path / "rows.csv")]
    assert recipe.data.eval == "uci-imdb"
    assert recipe.model == "starter:encoder"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("task: sentiment\nmodel: m\ndata:\n  train: d.csv\n  columns:\n  eval:\ntraining:\noutput:\n")
    return path


def test_sections_with_nothing_below_them_are_as_if_absent(plain: Path) -> None:
    recipe = Recipe.load(plain, ["training.epochs=2", "data.columns.text=review"])
    assert (recipe.training.epochs, recipe.data.columns, recipe.output) == (2.0, {"text": "review"}, "")
    assert Recipe.load(plain).data.eval is None
    assert Recipe.load(plain, ["data.eval=''"]).data.eval is None


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epochs=[1", "not valid YAML"),
        ("training.epochs=.nan", "finite"),
        ("training.learning_rate=.inf", "finite"),
        ("training.epochs=true", "a number"),
        ("training.batch_size=yes", "a number"),
        ("epochs=1", "Did you mean training.epochs"),
        ("data.train=5", "data.train is 5"),
        ("data.train=[1, 2]", "list of files"),
        ("data.train=[[a.csv]]", "list of files"),
        ("data.eval=5", "data.eval is 5"),
        ("data.columns={text: 5}", "data.columns.text is 5"),
        ("data.options={names: 5}", "list of column names"),
        ("data.options={names: [5]}", "list of column names"),
        ("data.options={delimiter: 5}", "in quotation marks"),
        ("data.options={header: maybe}", "true or false"),
        ("data.options={encoding: [utf-8]}", "in quotation marks"),
    ],
)
def test_odd_values_are_told_in_a_sentence(plain: Path, override: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        Recipe.load(plain, [override])
    assert words in caught.value.one_line()


def test_a_name_that_is_a_number_is_a_text(plain: Path) -> None:
    assert Recipe.load(plain, ["model=2024"]).model == "2024"


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        Recipe.load(tmp_path)


def test_a_bundled_name_means_the_bundled_data_whatever_lies_beside_the_recipe(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "uci-sentiment").mkdir()
    (tmp_path / "starter:encoder").mkdir()
    recipe = Recipe.load(plain, ["data.train=uci-sentiment", "model=starter:encoder"])
    assert (recipe.data.train, recipe.model) == ("uci-sentiment", "starter:encoder")


def test_a_symbolic_link_keeps_its_name(plain: Path, tmp_path: Path) -> None:
    """The hub's cache links train.tsv to a blob without a suffix; the suffix tells the format."""
    (tmp_path / "blob").write_text("text\tlabel\nfine\t1\n")
    (tmp_path / "train.tsv").symlink_to("blob")
    assert Recipe.load(plain, ["data.train=train.tsv"]).data.train == str(tmp_path / "train.tsv")


def test_options_of_a_task_that_has_none_are_told() -> None:
    values = {"task": "sentiment", "model": "m", "data": {"train": "uci-imdb"}, "options": {"beams": 2}}
    with pytest.raises(UserError, match=r"nothing to set in options, so options\.beams means nothing") as caught:
        Recipe.from_dict(values)
    assert caught.value.remedy == "Leave the section out."
