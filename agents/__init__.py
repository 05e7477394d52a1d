"""The masking agents, one idea a file; none imports another, and maskgym finds them by entry point only."""
