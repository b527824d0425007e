"""The LightningModule that trains one stage, and the stage it exports."""
