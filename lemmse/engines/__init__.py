"""Engines turn squared distances of features into softmax sums. They know features, strata and values, no physics.

`plain` holds the versions in torch that the others are tested against, `cpu` and `cuda` the compiled ones; `state` is
what they all return, and `registry` chooses among them.
"""
