"""Random projections of gradients, streamed slice by slice."""
