"""How long it takes to list and order a folder of very many images, and how much memory."""
