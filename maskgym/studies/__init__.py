"""Studies: data sets x methods x label shares x seeds, as a graph of command lines with the files they leave."""
