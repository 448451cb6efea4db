"""What a model costs on this machine: time, throughput, memory, energy, and the machine's own limits.

timing       contenders in turn, round by round, so that a slow moment hits them all
libraries    what only the computing library can say: its matrix-product peak, its memory
measure      the table: exit x batch x bundle x engine -> `Result`
compare      two results -> a verdict that knows the noise
costs        predicted against actual time of every depth
scenarios    the four of MLPerf LoadGen
report       tables and plots for people
"""
