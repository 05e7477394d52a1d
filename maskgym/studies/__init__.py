"""Studies: data sets x methods x label shares x seeds, as command lines with the files they leave."""
