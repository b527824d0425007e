"""Stages whose weights, gradients, optimizer state and average are shared out among processes (FSDP2)."""
