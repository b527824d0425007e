"""Alignment against fidelity: judges, metrics, the sweep over guidance weights, and its report.

Pictures are uint8 from here on, one quantiser for all of them (`imagen.data.pixels`). Every picture is looked at once:
its features, cosines and verdicts go to a block file, and every number in the report is computed from block files.
"""
