"""An open Imagen: text-to-image diffusion cascades with PyTorch Lightning and Hydra."""
