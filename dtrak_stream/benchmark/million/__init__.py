"""How long a million images would take, recipe by recipe, as plans say."""
