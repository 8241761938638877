"""Query and control the machine: devices, memory, processes, random-number state, signals."""
