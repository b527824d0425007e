"""Networks that were trained on a table of whole-numbered times, as DDPM and DeepFloyd IF."""
