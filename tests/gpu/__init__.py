"""What only a GPU can show: that it computes what the CPU does, each time, without waiting."""
