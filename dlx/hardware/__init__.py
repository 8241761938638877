"""What a run needs to know of its machine: devices, memory, processes, random-number state, signals."""
