"""The offline half: from contoured CTs to a bundle that the daemon can load."""
