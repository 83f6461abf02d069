"""Linear datamodeling score: how well summed scores rank what retraining does to the loss."""
