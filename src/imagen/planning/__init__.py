"""What a training needs before it is started: memory of a GPU, arithmetic and time of a step. Computes nothing."""
