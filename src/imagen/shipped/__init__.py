"""Builds `assets/`: the small T5, the judges and the cascade that are shipped with the project."""
