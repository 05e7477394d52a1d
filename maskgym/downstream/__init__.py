"""What pre-training is worth: fine-tuning a segmentation network with few labels, and measuring it."""

from maskgym.downstream.finetune import finetune
from maskgym.downstream.metrics import METRICS, measure
from maskgym.downstream.network import load_segmenter
from maskgym.downstream.predict import predict
from maskgym.downstream.recipes import RECIPES
from maskgym.downstream.scores import score
from maskgym.downstream.settings import FineTune

__all__ = ["METRICS", "RECIPES", "FineTune", "finetune", "load_segmenter", "measure", "predict", "score"]
