"""What the machine offers: devices, precisions, cores and optional engines. Imports nothing else of this project."""
