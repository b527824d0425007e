"""unCLIP (Ramesh et al. 2022): a prior draws the embedding of a picture from its caption, a decoder the picture."""
