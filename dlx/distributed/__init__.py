"""Train one model in several processes: the group, its collectives, and the loss of a process."""
