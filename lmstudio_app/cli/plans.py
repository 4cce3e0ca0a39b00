"""``lmstudio-app train --explain``: the layer diagram of the Train tab as a table."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from lmstudio_app.cli.console import console_context
from lmstudio_app.cli.tables import write_table

if TYPE_CHECKING:
    from lmstudio_app.training.plan import LayerPlan
    from lmstudio_app.training.recipe import Recipe


def explain(recipe: Recipe, *, as_json: bool) -> int:
    """Print which layers of the recipe's model would train, the uppermost first. Nothing is trained."""
    from lmstudio_app.training.plan import count_labels, plan_training

    with console_context() as ctx:
        plan = plan_training(recipe, ctx, labels=count_labels(recipe, ctx))
    if as_json:
        sys.stdout.write(json.dumps(to_dict(plan), indent=1) + "\n")
        return 0
    rows = [("layer", "parameters", "train", "adapters", "from stage", "learning rate")]
    for planned in reversed(plan.groups):
        stage, rate = ("never", "") if planned.stage is None else (str(planned.stage + 1), f"x {planned.rate:.3g}")
        rows.append((planned.title, f"{planned.count:,}", f"{planned.trained:,}", f"{planned.adapter:,}", stage, rate))
    write_table(rows)
    sys.stdout.write(f"\n{plan.trained:,} parameters train, of a model with {plan.parameters:,}.\n")
    if plan.stages > 1:
        length = f"{plan.unfreeze_every} optimizer steps" if plan.unfreeze_every else "an epoch"
        sys.stdout.write(f"Each of the {plan.stages} stages takes {length}, the last one all that is left.\n")
    return 0


def to_dict(plan: LayerPlan) -> dict[str, Any]:
    """The plan as plain values, the lowest group first."""
    return {
        "parameters": plan.parameters,
        "trained": plan.trained,
        "stages": plan.stages,
        "unfreeze_every": plan.unfreeze_every,
        "groups": [
            {
                "title": planned.title,
                "kind": planned.group.kind,
                "parameters": planned.count,
                "trained": planned.trained,
                "adapter": planned.adapter,
                "stage": planned.stage,
                "rate": planned.rate,
            }
            for planned in plan.groups
        ],
    }
