"""What a model costs on this machine: time, throughput, memory, energy, and the machine's own limits.

timing       contenders in turn, round by round, so that a slow moment hits them all
libraries    the fastest matrix product of a computing library, and its memory on the device
peak_memory  peak memory of one way to score, in a process of its own
run          the table: exit x batch x bundle x engine -> `BenchResult`
compare      two results -> a verdict that knows the noise
cost_check   predicted against actual time of every depth
loadgen      the four scenarios of MLPerf LoadGen
report       tables and plots for people
"""
