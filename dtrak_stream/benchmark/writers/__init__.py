"""How much sooner a store is full when several processes fill it."""
