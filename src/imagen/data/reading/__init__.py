"""Reading other people's picture and caption files: decoding, metadata, archives, faults."""
