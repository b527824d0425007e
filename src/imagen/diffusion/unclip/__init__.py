"""unCLIP (Ramesh et al. 2022): what a stage is told by the embedding of a picture."""
