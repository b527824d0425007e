"""Distillation: what a student of a trained denoiser is told, and what it learns to estimate."""
