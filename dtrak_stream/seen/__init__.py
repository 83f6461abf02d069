"""Did the model see this image: from residuals to a probability."""
