"""How a method trains: its recipe, and the optimisers, schedules and augmentations that a recipe can name."""

from fsseg_bench.data.augment import AUGMENTATIONS
from fsseg_bench.recipe.recipe import BY_USER, Recipe
from fsseg_bench.recipe.steps import OPTIMIZERS, SCHEDULES

__all__ = ["AUGMENTATIONS", "BY_USER", "OPTIMIZERS", "SCHEDULES", "Recipe"]
