"""What waiting, downloading and importing cost, compared with a peer or a limit in the same run."""
