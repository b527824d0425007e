"""Tables, plots, pages and TensorBoard charts of the results."""
