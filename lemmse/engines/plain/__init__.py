"""The engines in plain torch, for any device and dtype, differentiable: each states its contract."""
