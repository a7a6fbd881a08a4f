"""Where examples come from, one data set a file."""
