"""Stages that others published, behind our contracts: DeepFloyd IF's, from the folders of its pipelines."""
