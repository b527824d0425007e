"""What builds `assets/`: the small T5, the judges and the cascade that come with the project."""
