"""The camera gateway: several cameras in, the best shot of every person out, in time at any load."""
