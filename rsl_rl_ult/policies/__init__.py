"""What acts outside of training.

A `Policy` acts in torch on observation groups and remembers what it needs; a `PolicyStep` is the same as a pure
function whose memory goes in and out; what is written into files (TorchScript, ONNX) is made of it.
"""
