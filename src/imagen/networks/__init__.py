"""The U-Nets: from noisy images, log-SNR and conditioning to a prediction of the shape of the images."""
