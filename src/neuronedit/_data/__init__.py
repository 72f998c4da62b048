"""The only rooms below `tl` that know AnnData: what is read is checked here, once, before any work."""
