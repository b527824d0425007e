"""Alignment against fidelity: judges, metrics, the sweep over guidance weights, and its report.

Pictures are uint8 here, all rounded by the same function (`imagen.data.pixels`). Every picture is judged once: its
features, cosines and verdicts are written to a block file, and all numbers of the report are computed from block files.
"""
