"""What runs networks: devices, the choice of an engine, OpenVINO, GPUs; native/ holds kernels of our own."""
