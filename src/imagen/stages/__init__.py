"""Stages: the LightningModule that trains one, and its export."""
