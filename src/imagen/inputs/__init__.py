"""What pictures are made from: captions, pictures of the user, sizes."""
