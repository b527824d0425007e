"""The judges of pictures: CLIP models, Inception, DINOv2, and the checker of the shapes world."""
