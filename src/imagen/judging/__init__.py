"""Trains judges: small CLIPModels that learn which caption belongs to which picture, and measure generators."""
