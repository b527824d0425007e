"""A vision-language model as a judge: how probable it finds an answer about a picture."""
