"""Which features, added up in which way, predict retraining best: a table of recipes, judged."""
