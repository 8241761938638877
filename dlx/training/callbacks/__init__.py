"""What a training calls as it goes: the protocol, the callbacks that are always there, and those that can be added."""
