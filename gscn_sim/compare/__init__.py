"""The GPU beside a simulation: its times, speed-ups with their bands, and the result in words."""
