"""Masked pre-training under any agent: student, teacher, losses, the loop, and the papers as recipes."""

from maskgym.pretrain.recipes import RECIPES, make_settings
from maskgym.pretrain.run import pretrain
from maskgym.pretrain.settings import PretrainSettings

__all__ = ["RECIPES", "PretrainSettings", "make_settings", "pretrain"]
