"""The networks of DeepFloyd IF."""
