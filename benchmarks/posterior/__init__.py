"""The posterior p(x_0|c) exp(lambda r(x_0)) / Z as a benchmark knows it: ``gold`` samples, and columns against them."""
