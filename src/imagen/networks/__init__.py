"""The U-Nets: noisy images, log-SNR and conditioning in, a prediction of the images' shape out."""
