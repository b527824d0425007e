"""Work that goes on at the same time: in processes of this machine, and in a thread."""
