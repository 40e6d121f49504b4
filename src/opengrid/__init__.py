"""OpenGrid: `grid run --gpus 8 train.py` turns a script into one multi-node training."""

__version__ = "0.1.0"
