"""The commands: what train.py, sample.py, evaluate.py and the others call."""
