"""What waiting, downloading and importing cost, each figure a ratio against a peer or a limit of the same run."""
