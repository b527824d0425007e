"""Distillation as a stage of training: a student takes fewer steps than its teacher, in one pass each."""
