"""Files of pictures and captions as strangers hand them in: decoding, metadata, archives, faults."""
