"""A truth of losses that another program measured: D-TRAK's folders of retrained models."""
