"""What the machine does for each job: processor, memory, input and output, GPUs (docs/hardware.md).

A process of its own measures (`sampler`): a library of a driver may hang or crash, a process file may block, and the
agent ships on. The agent starts it while there are jobs (`process`), keeps what it tells in memory (`files`) and sends
it like the lines of any other writer (`hardware`).
"""
